//! Echo with async-std.

use async_std::io;
use async_std::net::TcpListener;
use async_std::task;

fn main() -> io::Result<()> {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    task::block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            task::spawn(async move {
                let _ = io::copy(&mut &stream, &mut &stream).await;
            });
        }
    })
}
