//! The bundled echo servers.
