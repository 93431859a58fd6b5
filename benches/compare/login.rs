//! The least client there is: it logs in, and hands its socket over.

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connects and logs in, by SCRAM-SHA-256 where that is asked for.
pub(crate) async fn connect(port: u16, user: &str, password: &str, database: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
    stream.set_nodelay(true).expect("a socket");
    let mut out = bytes::BytesMut::new();
    let parameters = [("user", user), ("database", database)];
    frontend::startup_message(parameters, &mut out).expect("short values");
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    loop {
        stream.write_all(&out).await.expect("it is open");
        out.clear();
        let (tag, body) = frame(&mut stream).await;
        let kind = body.get(..4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four")));
        match (tag, kind) {
            (b'R', Some(10)) => {
                frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)
                    .expect("a short message");
            }
            (b'R', Some(11)) => {
                scram.update(&body[4..]).expect("a challenge");
                frontend::sasl_response(scram.message(), &mut out).expect("a short message");
            }
            (b'R', Some(12)) => scram.finish(&body[4..]).expect("a server that knows the password"),
            (b'Z', _) => return stream,
            (b'E', _) => panic!("refused: {}", String::from_utf8_lossy(&body)),
            _ => (),
        }
    }
}

async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.expect("it is open");
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let mut body = vec![0; usize::try_from(length - 4).expect("a short message")];
    stream.read_exact(&mut body).await.expect("it is open");
    (header[0], body)
}
