//! Echo with smol, as in its example.

use smol::{Async, io};
use std::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    smol::block_on(async {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], port))?;
        loop {
            let (stream, _): (Async<TcpStream>, _) = listener.accept().await?;
            smol::spawn(async move {
                let _ = io::copy(&stream, &mut &stream).await;
            })
            .detach();
        }
    })
}
