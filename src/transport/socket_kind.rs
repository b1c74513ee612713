//! The kinds of stream sockets, as far as they differ in what they can do.

/// What a connection is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketKind {
    /// TCP, which has all that this program can ask for.
    #[default]
    Tcp,
    /// A Unix domain socket.
    Unix,
    /// A socket between a virtual machine and its host.
    Vsock,
}

impl SocketKind {
    /// What to call it.
    pub fn in_words(self) -> &'static str {
        match self {
            SocketKind::Tcp => "a socket of TCP",
            SocketKind::Unix => "a Unix domain socket",
            SocketKind::Vsock => "a vsock socket",
        }
    }

    /// The same after 'no'.
    pub fn none_in_words(self) -> &'static str {
        self.in_words().trim_start_matches("a ")
    }
}
