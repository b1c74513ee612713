//! The control connection to the tester. It shows that the tester is there and has the same token, and brings its
//! words.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sys;
use crate::transport::{ControlWord, PairingToken, control_header, prepare_control};

/// How long a connect may take, and the answer to a header.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no pairing.
pub(super) enum NotPaired {
    /// The tester has another token.
    WrongToken,
    /// Nobody is there; why.
    Absent(String),
    /// Somebody takes connections, and does not answer.
    Silent,
}

/// A control connection that the tester has accepted.
pub(super) struct ControlLink {
    stream: TcpStream,
    /// Where the tester is.
    pub(super) tester: SocketAddr,
}

impl ControlLink {
    /// Connects to the tester at `HOST:PORT`. Also returns its first word.
    pub(super) async fn open(tester: &str, token: &PairingToken) -> Result<(ControlLink, ControlWord), NotPaired> {
        let absent = |error: io::Error| NotPaired::Absent(error.to_string());
        let connected = timeout(PATIENCE, TcpStream::connect(tester)).await;
        let stream = connected.map_err(|_| NotPaired::Absent(format!("no answer within {PATIENCE:?}")))?;
        let stream = stream.map_err(absent)?;
        if sys::refuses_itself(&stream) {
            return Err(NotPaired::Absent("nothing listens there".to_owned()));
        }
        let mut link = ControlLink { tester: stream.peer_addr().map_err(absent)?, stream };
        link.prepare(token).await.map_err(absent)?;
        match timeout(PATIENCE, link.next()).await.map_err(|_| NotPaired::Silent)? {
            Some(ControlWord::WrongToken) => Err(NotPaired::WrongToken),
            Some(word) => Ok((link, word)),
            None => Err(NotPaired::Silent),
        }
    }

    async fn prepare(&mut self, token: &PairingToken) -> io::Result<()> {
        prepare_control(&self.stream)?;
        self.stream.write_all(&control_header(token)).await
    }

    /// The next word of the tester; `None`: it is gone. It may be dropped at any time.
    pub(super) async fn next(&mut self) -> Option<ControlWord> {
        // What is no word comes from no tester.
        ControlWord::of_byte(self.stream.read_u8().await.ok()?)
    }

    /// Answers a word. An error shows at the next read.
    pub(super) async fn answer(&mut self, word: ControlWord) {
        let _ = self.stream.write_all(&[word.byte()]).await;
    }
}
