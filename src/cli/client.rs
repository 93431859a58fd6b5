//! The client of the HTTP API: finds the proxy, asks, reads the answer.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Failure;
use crate::control::model::ErrorBody;
use crate::secret::Secret;

/// Where the proxy is looked for when nothing says where it is.
const USUAL_PLACES: [&str; 2] = ["./daypass.sock", "/run/daypass/daypass.sock"];
/// A proxy that has not answered by then is taken for dead.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 << 20;

/// Where the proxy is, and who asks.
pub struct Client {
    place: Place,
    token: Option<Secret>,
}

/// Where to look for the proxy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// `DAYPASS_URL` says it.
    Named(PathBuf),
    /// It does not.
    Usual,
}

impl Place {
    fn from_url(url: Option<OsString>) -> Result<Self, Failure> {
        let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(Self::Usual) };
        let Some(url) = url.to_str() else {
            return Err(Failure::Usage("DAYPASS_URL is not UTF-8".to_owned()));
        };
        match url.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => {
                // unix:///run/x.sock and unix:/run/x.sock mean the same.
                let path = path.strip_prefix("//").unwrap_or(path);
                Ok(Self::Named(PathBuf::from(path)))
            }
            Some(("http" | "https", _)) => Err(Failure::Usage(
                "DAYPASS_URL names a web address, which comes with a later version: this one \
                 reaches the proxy over its Unix socket only (DAYPASS_URL=unix:PATH)"
                    .to_owned(),
            )),
            _ => Err(Failure::Usage(
                "DAYPASS_URL has to be unix:PATH, the path of the proxy's socket".to_owned(),
            )),
        }
    }
}

impl Client {
    /// What `DAYPASS_URL` and `DAYPASS_TOKEN` say.
    pub fn from_environment() -> Result<Self, Failure> {
        let place = Place::from_url(env::var_os("DAYPASS_URL"))?;
        let token = match env::var("DAYPASS_TOKEN") {
            Ok(token) if !token.is_empty() => Some(Secret::new(token.trim().as_bytes())),
            Ok(_) | Err(env::VarError::NotPresent) => None,
            Err(env::VarError::NotUnicode(_)) => {
                return Err(Failure::Usage("DAYPASS_TOKEN is no token".to_owned()));
            }
        };
        Ok(Self { place, token })
    }

    /// Reads something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Makes or changes something.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Failed(error.to_string()))?;
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let (stream, socket) = self.connect().await?;
        let request = self.request(method, path, body)?;
        let answer = tokio::time::timeout(ANSWER_TIME, exchange(stream, request)).await;
        let lost = |what: String| Failure::Unreachable {
            message: format!("the proxy at {} did not answer: {what}", socket.display()),
            hint: None,
        };
        match answer {
            Ok(Ok((status, body))) => read(status, &body, &socket),
            Ok(Err(what)) => Err(lost(what)),
            Err(_) => Err(lost(format!("nothing within {} s", ANSWER_TIME.as_secs()))),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "daypass")
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            let bearer = [b"Bearer ".as_slice(), token.expose()].concat();
            let mut value = HeaderValue::from_bytes(&bearer)
                .map_err(|_| Failure::Usage("DAYPASS_TOKEN is no token".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        // The parts are constants and checked identifiers; should one be wrong, the error says which.
        request.body(Full::new(body)).map_err(|error| Failure::Failed(error.to_string()))
    }

    async fn connect(&self) -> Result<(UnixStream, PathBuf), Failure> {
        match &self.place {
            Place::Named(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok((stream, path.clone())),
                Err(error) => Err(Failure::Unreachable {
                    message: format!(
                        "cannot reach the proxy at {} (from DAYPASS_URL): {}",
                        path.display(),
                        words(&error)
                    ),
                    hint: Some("is it running? daypass serve --config FILE starts it".to_owned()),
                }),
            },
            Place::Usual => {
                let mut tried = String::new();
                for place in USUAL_PLACES {
                    match connect_to_usual(Path::new(place)).await {
                        Ok(stream) => return Ok((stream, PathBuf::from(place))),
                        Err(why) => {
                            let and = if tried.is_empty() { "" } else { ", " };
                            // Writing into a string cannot fail.
                            let _ = write!(tried, "{and}{place} ({why})");
                        }
                    }
                }
                Err(Failure::Unreachable {
                    message: format!("cannot reach the proxy: tried {tried}"),
                    hint: Some(
                        "daypass serve --config FILE starts it; DAYPASS_URL=unix:PATH says where \
                         it listens"
                            .to_owned(),
                    ),
                })
            }
        }
    }
}

/// Connects to a place that nobody named. The current folder may be anybody's, and a token is
/// about to be sent: whoever listens there has to be root or this very user.
async fn connect_to_usual(path: &Path) -> Result<UnixStream, String> {
    let stream = UnixStream::connect(path).await.map_err(|error| words(&error))?;
    let theirs = stream.peer_cred().map_err(|error| words(&error))?.uid();
    let ours = std::fs::metadata("/proc/self").map_err(|error| words(&error))?.uid();
    if theirs == 0 || theirs == ours {
        Ok(stream)
    } else {
        Err("another user listens there: name it in DAYPASS_URL if that is meant".to_owned())
    }
}

/// An error of the operating system without its number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

async fn exchange(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
) -> Result<(hyper::StatusCode, Bytes), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Its errors come back from the request, too.
    tokio::spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

fn read<T: DeserializeOwned>(
    status: hyper::StatusCode,
    body: &[u8],
    socket: &Path,
) -> Result<T, Failure> {
    let strange = || {
        Failure::Failed(format!(
            "{} answered {status}, but not as daypass {} does",
            socket.display(),
            env!("CARGO_PKG_VERSION")
        ))
    };
    if status.is_success() {
        serde_json::from_slice(body).map_err(|_| strange())
    } else {
        let body: ErrorBody = serde_json::from_slice(body).map_err(|_| strange())?;
        Err(Failure::Refused(body.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, Failure> {
        Place::from_url(Some(url.into()))
    }

    #[test]
    fn the_url_names_a_socket() {
        let named = |path: &str| Place::Named(PathBuf::from(path));
        assert_eq!(place("unix:/run/x.sock").unwrap(), named("/run/x.sock"));
        assert_eq!(place("unix:///run/x.sock").unwrap(), named("/run/x.sock"));
        assert_eq!(place("unix:x.sock").unwrap(), named("x.sock"));
        assert_eq!(place("").unwrap(), Place::Usual);
        assert_eq!(Place::from_url(None).unwrap(), Place::Usual);
    }

    #[test]
    fn other_urls_are_refused_with_a_sentence() {
        for url in ["https://proxy.example", "unix:", "/run/x.sock", "tcp:1"] {
            let Err(Failure::Usage(message)) = place(url) else { panic!("{url}") };
            assert!(message.contains("unix:PATH"), "{message}");
        }
    }
}
