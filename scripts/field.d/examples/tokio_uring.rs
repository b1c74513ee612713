//! Echo with tokio-uring, as in its example.

use tokio_uring::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap();
    tokio_uring::start(async {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}").parse().unwrap())?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio_uring::spawn(echo(stream));
        }
    })
}

async fn echo(stream: TcpStream) {
    let mut buffer = vec![0; 8192];
    loop {
        let (result, mut filled) = stream.read(buffer).await;
        let Ok(count @ 1..) = result else { return };
        filled.truncate(count);
        let (result, written) = stream.write_all(filled).await;
        if result.is_err() {
            return;
        }
        buffer = written;
    }
}
