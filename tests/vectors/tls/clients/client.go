// One handshake of Go's crypto/tls: port=, name=, alpn=, groups=classic, suites=ecdsa, versions=1.2|1.3 (that one alone).
package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"strings"
)

func main() {
	fmt.Println(runtime.Version())
	if len(os.Args) == 1 {
		return
	}
	config := &tls.Config{InsecureSkipVerify: true}
	port := ""
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(argument, "=")
		switch name {
		case "port":
			port = value
		case "name":
			config.ServerName = value
		case "alpn":
			config.NextProtos = []string{value}
		case "groups":
			config.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}
		case "suites":
			config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		case "versions":
			config.MinVersion = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[value]
			config.MaxVersion = config.MinVersion
		}
	}
	if _, err := tls.Dial("tcp", "127.0.0.1:"+port, config); err != nil {
		os.Exit(1)
	}
}
