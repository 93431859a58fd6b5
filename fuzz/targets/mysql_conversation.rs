//! A session of MySQL whose client sends anything, and whose server may be anybody: nothing reaches a server
//! that was not decided as what it is there, and where the bytes are cut changes nothing.

#![no_main]

use std::time::Duration;

use daypass::session::machine::SessionLimits;
use daypass::sql::Engine;
use daypass::sql::mysql::{Flavour, ParseLimits};
use daypass::wire::Limits;
use daypass::wire::mysql::capability::Capabilities;
use daypass_fuzz::input::Input;
use daypass_fuzz::mysql_world::{Setup, World};
use daypass_fuzz::simulation::check_records;
use daypass_fuzz::{NOW, grant};
use libfuzzer_sys::fuzz_target;

/// What a session holds, by choice.
const PRIVILEGES: [&str; 4] = [
    "",
    "SELECT, INSERT ON shop.t1; SELECT ON crm.t1",
    "WRITE ON SCHEMA shop; EXECUTE ON PROCEDURE shop.p; CREATE TEMPORARY TABLES ON SCHEMA shop; FILE ON DATABASE",
    "ADMIN ON DATABASE",
];

fn privileges(choice: u8) -> &'static str {
    PRIVILEGES[usize::from(choice) % PRIVILEGES.len()]
}

fn world(choice: u8, choices: &[u8]) -> World {
    let held = match privileges(choice) {
        "" => Vec::new(),
        held => vec![grant(Engine::Mysql, "g_0", held, NOW, 1_000)],
    };
    let some = |bit: u8, one| if choice & bit == 0 { Capabilities::NONE } else { one };
    let wire = Limits { message_bytes_max: 4_096, prepared_statements_max: 3, ..Limits::default() };
    World::new(Setup {
        grants: held,
        capabilities: Capabilities::PROTOCOL_41
            | some(4, Capabilities::DEPRECATE_EOF)
            | some(8, Capabilities::SESSION_TRACK)
            | some(16, Capabilities::QUERY_ATTRIBUTES)
            | some(32, Capabilities::BULK),
        flavour: if choice & 64 == 0 { Flavour::MariaDb } else { Flavour::MySql },
        choices,
        limits: SessionLimits { wire, parse: ParseLimits::default() },
        now: NOW + Duration::from_secs(5),
    })
}

/// What the client is told when everything that happens waits until all has been sent.
fn told(pieces: &[&[u8]], choice: u8, choices: &[u8], piece: usize) -> (Vec<u8>, bool, bool) {
    let mut world = world(choice, choices);
    world.settle(usize::MAX);
    for piece in pieces {
        world.client_sends(piece);
    }
    world.settle(piece);
    assert!(world.violated || world.told_whole_packets());
    let told = (world.client_out.clone(), world.closed, world.violated);
    check_records(&world.end());
    told
}

/// Something else happens, by choice.
fn happens(world: &mut World, choice: u8) {
    let more = usize::from(choice >> 3);
    match choice % 8 {
        0 => world.settle(usize::MAX),
        1 => drop(world.fulfil(more)),
        2 => {
            world.server.work();
            world.server_delivers(more);
        }
        3 => world.pass_time(Duration::from_secs(u64::from(choice >> 3) * 60)),
        4 => world.revoke(more % 4),
        5 => {
            let id = format!("g_{}", world.grants.len());
            let held = privileges(1 + (choice >> 3) % 3);
            let added = grant(Engine::Mysql, &id, held, world.now, 120);
            world.add(added);
        }
        6 if more < 8 => world.audit_accepts = more % 2 == 0,
        6 if more < 16 => world.publish_catalog(),
        6 => world.cancel(),
        _ if more < 2 => world.server_dies(more),
        _ if more < 4 => world.drain(),
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (choice, mode) = (input.byte(), input.byte());
    let choices = input.bytes(8);
    let piece = usize::from(mode >> 2);
    match mode % 4 {
        0 => {
            let (body, pieces) = input.pieces();
            let whole = told(&[body], choice, choices, usize::MAX);
            assert_eq!(told(&pieces, choice, choices, piece), whole, "{pieces:?}");
        }
        // The second piece is the server's, and so on.
        1 => {
            let (_, pieces) = input.pieces();
            let mut world = world(choice, choices);
            world.hostile = true;
            while world.fulfil(0) {}
            for (n, piece) in pieces.into_iter().enumerate() {
                if n % 2 == 0 {
                    world.client_sends(piece);
                } else {
                    world.server_says(piece);
                }
                while world.fulfil(0) {}
            }
            check_records(&world.end());
        }
        _ => {
            let happening = input.bytes(8);
            let (_, pieces) = input.pieces();
            let mut world = world(choice, choices);
            let mut happening = happening.iter();
            for piece in pieces {
                world.client_sends(piece);
                if let Some(choice) = happening.next() {
                    happens(&mut world, *choice);
                }
            }
            for choice in happening {
                world.take_client_bytes();
                happens(&mut world, *choice);
            }
            world.audit_accepts = true;
            world.settle(piece);
            assert!(world.violated || world.told_whole_packets());
            check_records(&world.end());
        }
    }
});
