//! Echo with monoio, as in its example.

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

#[monoio::main(driver = "fusion")]
async fn main() {
    let port = std::env::args().nth(1).unwrap();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        monoio::spawn(async move {
            let _ = echo(stream).await;
        });
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(8 * 1024);
    loop {
        let (result, filled) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        let (result, written) = stream.write_all(filled).await;
        result?;
        buffer = written;
        buffer.clear();
    }
}
