//! The privilege grammar: what is read is shown in a form that is read back as the same.

#![no_main]

use daypass::grant::privilege::{parse, parse_list, parse_stored};
use daypass::sql::Engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for engine in [Engine::Postgres, Engine::Mysql] {
        let privileges = match parse_list(text, engine, "shop") {
            Ok(privileges) => privileges,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        for privilege in privileges {
            assert!(!privilege.items.is_empty());
            let shown = privilege.display(engine).to_string();
            assert_eq!(parse(&shown, engine, "shop").as_ref(), Ok(&privilege), "{shown}");
            let stored = privilege.stored();
            assert_eq!(parse_stored(&stored).as_ref(), Ok(&privilege), "{stored}");
        }
    }
});
