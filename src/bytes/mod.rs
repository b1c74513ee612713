//! The stream: what each byte of each connection must be, and what is wrong when it is not.
