//! What the command line shows on a terminal.

use crate::support::{Config, Daypass, python};

/// Runs the command line on a terminal of so many columns: its longest line.
const ON_A_TERMINAL: &str = r#"
import fcntl, os, pty, struct, subprocess, sys, termios
here, there = pty.openpty()
fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(os.environ["WIDTH"]), 0, 0))
child = subprocess.Popen([os.environ["BINARY"], "audit", "tail"], stdout=there)
os.close(there)
shown = b""
while True:
    try:
        more = os.read(here, 65536)
    except OSError:  # the other end is closed
        break
    if not more:
        break
    shown += more
assert child.wait() == 0
print(max(len(line) for line in shown.decode().splitlines()))
"#;

#[test]
fn audit_tail_fits_the_terminal_and_gives_a_pipe_whole_lines() {
    let nowhere = "name = \"shop\"\nengine = \"postgres\"\nsecond-lock = \"none\"\n\
                   primary = \"postgres://daypass@127.0.0.1:1/shop\"";
    let daypass = Daypass::start(Config::new().database(nowhere));
    let reason = "a long reason ".repeat(20);
    let wish = ["grant", "create", "--user", "ann", "--database", "shop", "--for", "1h"];
    let more = ["--privilege", "READ ON SCHEMA public", "--reason", reason.trim()];
    daypass.cli(&[&wish[..], &more].concat()).expect_success();
    let url = format!("unix:{}", daypass.socket().display());
    let longest = |width: &str, columns: &str| {
        let env = [
            ("BINARY", env!("CARGO_BIN_EXE_daypass")),
            ("DAYPASS_URL", &url),
            ("WIDTH", width),
            ("COLUMNS", columns),
        ];
        python(ON_A_TERMINAL, &env).expect_success()
    };
    assert_eq!(longest("60", ""), "60");
    assert_eq!(longest("133", ""), "133");
    assert_eq!(longest("133", "70"), "70");
    assert_eq!(longest("0", ""), "80");
    let piped = daypass.cli(&["audit", "tail"]).expect_success();
    assert!(piped.contains(reason.trim()), "{piped}");
}
