//! A client that speaks PostgreSQL's protocol message by message, for what no driver does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use super::PATIENCE;

/// A message of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub tag: u8,
    /// What follows its length.
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an error or a notice: `C` the SQLSTATE, `M` the message.
    #[track_caller]
    pub fn field(&self, code: u8) -> &str {
        assert!(matches!(self.tag, b'E' | b'N'), "no error and no notice: {self:?}");
        let mut fields = self.body.split(|&byte| byte == 0);
        let field = fields.find(|field| field.first() == Some(&code)).expect("it has that field");
        std::str::from_utf8(&field[1..]).expect("text")
    }
}

/// The tags of messages, in order: `1 2 D Z`.
pub fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

/// A session that has logged in.
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Logs in by SCRAM-SHA-256 and waits for ReadyForQuery.
    #[track_caller]
    pub fn login(port: u16, user: &str, token: &str, database: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("likewise");
        let mut wire = Self { stream };
        wire.send(|buffer| {
            frontend::startup_message([("user", user), ("database", database)], buffer).unwrap();
        });
        assert_eq!(wire.read().tag, b'R');
        let mut scram = ScramSha256::new(token.as_bytes(), ChannelBinding::unsupported());
        wire.send(|buffer| {
            frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), buffer).unwrap();
        });
        scram.update(&wire.read().body[4..]).expect("the server goes on");
        wire.send(|buffer| frontend::sasl_response(scram.message(), buffer).unwrap());
        scram.finish(&wire.read().body[4..]).expect("the server has proved itself");
        assert_eq!(tags(&wire.until_ready()).replace('S', ""), "RKZ");
        wire
    }

    /// Sends what `write` writes, at once.
    pub fn send(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut buffer = BytesMut::new();
        write(&mut buffer);
        self.stream.write_all(&buffer).expect("the proxy reads");
    }

    /// Sends bytes as they are; whether all of them were taken.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a simple query.
    pub fn query(&mut self, text: &str) {
        self.send(|buffer| frontend::query(text, buffer).unwrap());
    }

    /// Runs a simple query to its end.
    #[track_caller]
    pub fn run(&mut self, text: &str) -> Vec<Message> {
        self.query(text);
        self.until_ready()
    }

    /// The next message.
    #[track_caller]
    pub fn read(&mut self) -> Message {
        let (tag, length) = self.header();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a whole message");
        Message { tag, body }
    }

    /// The next message's tag and the length of its body, which is still to be read.
    #[track_caller]
    pub fn header(&mut self) -> (u8, usize) {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).expect("a message");
        let [tag, a, b, c, d] = header;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).expect("64 bits");
        (tag, length.checked_sub(4).expect("a length counts itself"))
    }

    /// Reads that many bytes, all of which must be `byte`, and keeps none.
    #[track_caller]
    pub fn expect_run(&mut self, length: usize, byte: u8) {
        let expected = vec![byte; 1 << 20];
        let mut buffer = vec![0; expected.len()];
        let mut rest = length;
        while rest > 0 {
            let room = rest.min(buffer.len());
            let n = self.stream.read(&mut buffer[..room]).expect("more bytes");
            assert!(n > 0, "the stream ended {rest} bytes early");
            assert!(buffer[..n] == expected[..n], "other bytes in the last {rest}");
            rest -= n;
        }
    }

    /// Reads that many bytes.
    #[track_caller]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("more bytes");
        bytes
    }

    /// Sends bytes until nobody has taken any for `patience`, or all are gone: how many were taken.
    pub fn send_until_stuck(&mut self, total: usize, byte: u8, patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).expect("a socket takes a timeout");
        let chunk = vec![byte; 1 << 20];
        let mut sent = 0;
        while sent < total {
            match self.stream.write(&chunk[..chunk.len().min(total - sent)]) {
                Ok(n) => sent += n,
                Err(_) => break,
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).expect("likewise");
        sent
    }

    /// Every message up to and with the one of that tag.
    #[track_caller]
    pub fn until(&mut self, tag: u8) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.read();
            let last = message.tag == tag;
            messages.push(message);
            if last {
                return messages;
            }
        }
    }

    /// Every message up to and with ReadyForQuery.
    #[track_caller]
    pub fn until_ready(&mut self) -> Vec<Message> {
        self.until(b'Z')
    }

    /// Every message up to the end of the stream.
    #[track_caller]
    pub fn until_end(&mut self) -> Vec<Message> {
        let mut bytes = Vec::new();
        // A connection that is reset has ended, too.
        drop(self.stream.read_to_end(&mut bytes));
        let mut messages = Vec::new();
        let mut rest = bytes.as_slice();
        while let [tag, a, b, c, d, after @ ..] = rest {
            let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).expect("64 bits");
            let (body, next) = after.split_at_checked(length - 4).expect("a whole message");
            messages.push(Message { tag: *tag, body: body.to_vec() });
            rest = next;
        }
        assert!(rest.is_empty(), "the stream ended inside a header");
        messages
    }

    /// Shuts the sending side; replies can still be read.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("it was open");
    }
}

/// Parse and Bind of an unnamed statement to a named portal, its parameters text.
pub fn bind(buffer: &mut BytesMut, portal: &str, text: &str, parameters: &[&str]) {
    frontend::parse("", text, std::iter::empty(), buffer).expect("no NUL in it");
    let bound = frontend::bind(
        portal,
        "",
        std::iter::empty(),
        parameters,
        |parameter, buffer| {
            buffer.extend_from_slice(parameter.as_bytes());
            Ok(IsNull::No)
        },
        std::iter::empty(),
        buffer,
    );
    assert!(bound.is_ok(), "a portal is bound");
}
