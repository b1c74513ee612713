//! What a relay of tests does that holds a FIN back.

use std::io;
use std::net::{Shutdown, TcpStream};

use crate::relay::{Way, bytes};

/// Keeps the FIN of either way until the other way ends too.
pub(crate) fn keeps_a_fin_until_the_other(_: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |_, _| {})?;
    // The other thread takes what comes, so only the end is left to be seen here.
    while to.peek(&mut [0])? > 0 {}
    to.shutdown(Shutdown::Write)
}
