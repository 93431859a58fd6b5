//! What `config/` gives to those who run Daypass as a service: that it is accepted, and does what it says.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Config, Daypass, Output, root, run};
use crate::{configurations, reload, server, support};

const BINARY: &str = env!("CARGO_BIN_EXE_daypass");
const UNIT: &str = include_str!("../../config/daypass.service");
const MANIFEST: &str = include_str!("../../config/kubernetes-sidecar.yaml");

/// Folders of a machine that has Daypass installed, and the service account's password.
fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["etc", "secret", "lib", "log", "run"] {
        let made = folder.path().join(name);
        std::fs::create_dir(&made).expect("it is new");
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&made, private).expect("it is ours");
    }
    for name in ["etc", "secret"] {
        std::fs::write(folder.path().join(name).join("shop.password"), "x").expect("it is ours");
    }
    folder
}

/// A text with the machine's folders in place of the system's.
fn moved(text: &str, machine: &Path) -> String {
    let places = [
        ("/etc/daypass-secret", "secret"),
        ("/etc/daypass", "etc"),
        ("/var/lib/daypass", "lib"),
        ("/var/log/daypass", "log"),
        ("/run/daypass", "run"),
    ];
    places.iter().fold(text.to_owned(), |text, (from, to)| {
        text.replace(from, &machine.join(to).display().to_string())
    })
}

fn check(text: &str) -> Output {
    let machine = machine();
    let file = machine.path().join("etc/daypass.toml");
    std::fs::write(&file, moved(text, machine.path())).expect("the folder is ours");
    run(Command::new(BINARY).arg("check").arg("--config").arg(file), "")
}

/// The lines of a block scalar, `key: |`, without their indentation.
fn block(yaml: &str, key: &str) -> String {
    let head = format!("{key}: |");
    let mut lines = yaml.lines().skip_while(|line| line.trim() != head);
    let indent = lines.next().expect("the key is there").find(&head).expect("it was found") + 2;
    let inside = lines
        .take_while(|line| line.trim().is_empty() || line.chars().take(indent).all(|c| c == ' '));
    inside.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect()
}

/// Values of a key of the unit, in order.
fn unit(key: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn every_configuration_of_the_repository_is_accepted() {
    let mut checked = 0;
    for entry in std::fs::read_dir(root().join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let output = check(&std::fs::read_to_string(&path).unwrap());
            assert_eq!(output.status, 0, "{}: {output:?}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 2);
    let inside = block(MANIFEST, "daypass.toml");
    assert!(inside.contains("[[listener]]") && inside.contains("[server]"), "{inside}");
    let output = check(&inside);
    assert_eq!(output.status, 0, "{output:?}");
    // The same way, a mistake is found.
    assert_eq!(check(&inside.replace("drain-deadline", "drain-dealine")).status, 1);
}

#[test]
fn the_unit_has_every_folder_that_its_configuration_names() {
    let configuration = include_str!("../../config/service.toml");
    for (place, key) in [
        ("/var/lib/daypass/", "StateDirectory"),
        ("/var/log/daypass/", "LogsDirectory"),
        ("/run/daypass/", "RuntimeDirectory"),
    ] {
        assert!(configuration.contains(place), "{place}");
        assert_eq!(unit(key), ["daypass"], "{key}");
    }
    assert_eq!(unit("RuntimeDirectoryMode"), ["0700"]);
    assert_eq!(unit("ExecStart"), ["/usr/bin/daypass serve --config /etc/daypass/daypass.toml"]);
}

/// What systemd does on `systemctl reload`: one command after the other, until one fails.
fn systemctl_reload(daypass: &Daypass) -> Output {
    let mut last = None;
    for command in unit("ExecReload") {
        let command = command
            .replace("/usr/bin/daypass", BINARY)
            .replace("/etc/daypass/", &format!("{}/", daypass.folder().display()))
            .replace("$MAINPID", &daypass.id().to_string());
        let mut words = command.split(' ');
        let output = run(Command::new(words.next().expect("a program")).args(words), "");
        if output.status != 0 {
            return output;
        }
        last = Some(output);
    }
    last.expect("the unit says how to reload")
}

#[test]
fn the_units_reload_checks_first_and_reloads_then() {
    let server = server();
    let config = || Config::new().postgres("shop", &server, &[]);
    let daypass = Daypass::start(config());
    reload(&daypass, config());
    let file = daypass.folder().join("daypass.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[tokens]\n")).unwrap();
    let refused = systemctl_reload(&daypass);
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("has no setting `tokens`"), "{refused:?}");

    std::fs::write(&file, format!("{text}\n[token]\nttl-max = \"2h\"\n")).unwrap();
    assert_eq!(systemctl_reload(&daypass).status, 0);
    let records = support::eventually("the reload", || {
        Some(configurations(&daypass)).filter(|records| records.len() > 1)
    });
    // The broken one never came to the proxy.
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[1]["reason"], "[token] changed");
}
