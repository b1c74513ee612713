//! A listener at a Unix domain socket, and its file: unlike a port it stays when its server is gone.
//!
//! The models serve it as a listener of TCP. It is a descriptor, and they make only calls on it and on what it accepts
//! that every stream socket knows; TCP_NODELAY fails there, and need not succeed.
//!
//! Source: unix(7), bind(2) (EADDRINUSE), connect(2) (ECONNREFUSED, EAGAIN).

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a listener, which is removed at the end, unless it is another one by then.
pub(super) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| id(&file) == self.id) {
            // Whoever can't remove it here finds it stale, as after a crash.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listener at this path. A socket file at which nobody listens any more is replaced.
///
/// # Errors
/// Somebody listens there (`AddrInUse`), a file that is no socket is there (`AlreadyExists`), or the system's.
pub(super) fn listen(path: &Path, backlog: i32) -> io::Result<(TcpListener, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let id = id(&fs::symlink_metadata(path)?);
    let file = SocketFile { path: path.to_owned(), id };
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

/// Removes the file of a server that is gone.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"))
        }
        Ok(_) if is_served(path)? => Err(ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(path),
    }
}

/// Whether somebody listens there. A listener whose queue is full is one too.
fn is_served(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refused(path: &Path) -> ErrorKind {
        listen(path, 5).err().expect("it is not taken").kind()
    }

    #[test]
    fn a_stale_file_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("echo.sock");
        drop(UnixListener::bind(&path).expect("the path is free"));
        assert!(path.exists(), "it is left by a server that does not remove it");
        let (listener, file) = listen(&path, 5).expect("the stale file is replaced");
        assert_eq!(refused(&path), ErrorKind::AddrInUse);
        drop((listener, file));
        assert!(!path.exists(), "it goes with its server");
        fs::write(&path, "precious").expect("it can be written");
        assert_eq!(refused(&path), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    }

    #[test]
    fn the_file_of_a_later_server_stays() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("echo.sock");
        let (_listener, file) = listen(&path, 5).expect("the path is free");
        fs::remove_file(&path).expect("it can be removed");
        let _later = UnixListener::bind(&path).expect("the path is free");
        drop(file);
        assert!(path.exists());
    }
}
