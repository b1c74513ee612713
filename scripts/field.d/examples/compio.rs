//! Echo with compio: completions of io_uring.

use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};

#[compio::main]
async fn main() {
    let port = std::env::args().nth(1).unwrap();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        compio::runtime::spawn(echo(stream)).detach();
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(8192);
    loop {
        let BufResult(count, filled) = stream.read(buffer).await;
        let Ok(1..) = count else { return };
        let BufResult(sent, mut written) = stream.write_all(filled).await;
        if sent.is_err() {
            return;
        }
        written.clear();
        buffer = written;
    }
}
