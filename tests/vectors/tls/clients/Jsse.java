import java.security.cert.X509Certificate;
import java.util.List;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/** One handshake of Java's JSSE: port=, name=, alpn=, versions=TLSv1.2 or SSLv2Hello,TLSv1.2. */
class Jsse {
    private static final class Trusting implements X509TrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String kind) {}
        public void checkServerTrusted(X509Certificate[] chain, String kind) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println(System.getProperty("java.version"));
        if (arguments.length == 0) return;
        SSLParameters parameters = new SSLParameters();
        int port = 0;
        for (String argument : arguments) {
            String value = argument.substring(argument.indexOf('=') + 1);
            switch (argument.substring(0, argument.indexOf('='))) {
                case "port" -> port = Integer.parseInt(value);
                case "name" -> parameters.setServerNames(List.of(new SNIHostName(value)));
                case "alpn" -> parameters.setApplicationProtocols(new String[] {value});
                case "versions" -> parameters.setProtocols(value.split(","));
            }
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Trusting()}, null);
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port)) {
            socket.setSSLParameters(parameters);
            socket.startHandshake();
        }
    }
}
