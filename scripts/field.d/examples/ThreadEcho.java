import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;

/** Echo with a thread for each connection, and ServerSocket's backlog of 50. */
public class ThreadEcho {
    public static void main(String[] arguments) throws IOException {
        ServerSocket server = new ServerSocket(Integer.parseInt(arguments[0]), 50, InetAddress.getLoopbackAddress());
        while (true) {
            Socket socket = server.accept();
            new Thread(() -> {
                try (socket) {
                    socket.getInputStream().transferTo(socket.getOutputStream());
                } catch (IOException reset) {
                    // The connection is over.
                }
            }).start();
        }
    }
}
