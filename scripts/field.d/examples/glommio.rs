//! Echo with glommio, as in its example.

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::LocalExecutor;
use glommio::net::{TcpListener, TcpStream};

fn main() {
    let port = std::env::args().nth(1).unwrap();
    LocalExecutor::default().run(async move {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
        loop {
            let stream = listener.accept().await.unwrap();
            glommio::spawn_local(echo(stream)).detach();
        }
    });
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
