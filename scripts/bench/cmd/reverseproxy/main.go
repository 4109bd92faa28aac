// Command reverseproxy is the least that a gateway in Go can be: httputil.ReverseProxy in front of the mock.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address to serve at")
	upstream := flag.String("upstream", "", "the base URL of the mock")
	flag.Parse()
	to, err := url.Parse(*upstream)
	if err != nil {
		log.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		// The default keeps two connections to a host, which would measure the making of connections.
		Transport:     &http.Transport{MaxIdleConnsPerHost: 128, IdleConnTimeout: 90 * time.Second},
		FlushInterval: -1,
	}
	server := &http.Server{Addr: *listen, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
