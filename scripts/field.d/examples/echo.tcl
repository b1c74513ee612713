# Echo with fcopy, Tcl's event loop.
proc accept {channel host port} {
    fconfigure $channel -blocking 0 -translation binary -buffersize 65536 -buffering none
    fcopy $channel $channel -command [list finish $channel]
}
proc finish {channel copied {problem ""}} {
    catch {close $channel}
}
socket -server accept -myaddr 127.0.0.1 [lindex $argv 0]
vwait forever
