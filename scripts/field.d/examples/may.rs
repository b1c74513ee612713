//! Echo with a coroutine of 'may' for each connection.

use may::go;
use may::net::TcpListener;
use std::io::{Read, Write};

fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    while let Ok((mut stream, _)) = listener.accept() {
        go!(move || {
            let mut buffer = vec![0; 8192];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
    }
}
