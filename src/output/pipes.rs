//! Named pipes (FIFOs) as files that results are written to.
//!
//! open(2) waits until somebody reads a pipe, perhaps for ever, and no signal handler of this program ends that wait.
//! So a pipe is opened without waiting, before the run: a pipe that nobody reads is refused. It is held open until its
//! result is there, because its reader would otherwise take the first close for the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::interrupt;
use crate::sync::lock;
use crate::sys;

/// The pipes that wait for their results.
static HELD: Mutex<Vec<(PathBuf, File)>> = Mutex::new(Vec::new());

/// Opens a file to write by these options. Of a pipe that nobody reads it says so, and does not wait for a reader.
///
/// # Errors
/// The system's; `BrokenPipe`: nobody reads from this pipe.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match is_pipe(path) {
        true => sys::open_pipe(path).map_err(|error| match error.raw_os_error() {
            Some(sys::NOBODY_READS) => io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads from this pipe"),
            _ => error,
        }),
        false => options.open(path),
    }
}

/// Whether this is a pipe, or a link to one.
pub(super) fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| sys::is_pipe(&metadata))
}

/// Opens a pipe and holds it for its result. Anything else is left alone.
///
/// # Errors
/// Nobody reads from the pipe, or it can't be opened.
pub(super) fn hold(path: &Path) -> io::Result<()> {
    let mut held = lock(&HELD);
    if is_pipe(path) && held.iter().all(|(other, _)| other != path) {
        held.push((path.to_owned(), open(path, &mut OpenOptions::new())?));
    }
    Ok(())
}

/// Writes the text and a line break to a pipe or a device, and closes it. A reader that does not read on is waited for
/// until the user interrupts.
///
/// # Errors
/// The system's; `Interrupted`: the user did not want to wait.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut held = lock(&HELD);
    let place = held.iter().position(|(other, _)| other == path);
    let file = place.map(|place| held.swap_remove(place).1);
    drop(held);
    let mut file = file.map_or_else(|| open(path, File::options().write(true)), Ok)?;
    let text = format!("{text}\n");
    interrupt::unless_requested_again(move || file.write_all(text.as_bytes()))?
}
