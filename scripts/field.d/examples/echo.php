<?php
// Echo with stream_select and a write buffer for each connection.
$server = stream_socket_server("tcp://127.0.0.1:$argv[1]") or exit(1);
stream_set_blocking($server, false);
$clients = [];
$waiting = [];
while (true) {
    $read = [$server];
    $write = [];
    foreach ($clients as $id => $client) {
        // One that has not taken its echo is not read from.
        $waiting[$id] === '' ? $read[] = $client : $write[] = $client;
    }
    $except = null;
    stream_select($read, $write, $except, null);
    foreach ($read as $ready) {
        if ($ready === $server) {
            $client = @stream_socket_accept($server, 0);
            if ($client) {
                stream_set_blocking($client, false);
                $clients[(int) $client] = $client;
                $waiting[(int) $client] = '';
            }
            continue;
        }
        $data = @fread($ready, 65536);
        if ($data === '' || $data === false) {
            if (feof($ready)) {
                unset($clients[(int) $ready], $waiting[(int) $ready]);
                fclose($ready);
            }
            continue;
        }
        $waiting[(int) $ready] = $data;
        $write[] = $ready;
    }
    foreach ($write as $ready) {
        $id = (int) $ready;
        $sent = @fwrite($ready, $waiting[$id]);
        if ($sent === false) {
            unset($clients[$id], $waiting[$id]);
            fclose($ready);
        } else {
            $waiting[$id] = substr($waiting[$id], $sent);
        }
    }
}
