// Command trim writes trimmed copies of SDKs and prints the go.mod that builds with them:
//
//	go build -modfile="$(go run ./infra/trim/cmd -tags TAGS ./functions/qa/cmd)" -tags TAGS ./functions/qa/cmd
//
// It is for builds that lrcp does not do itself, such as that of an image.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/llm-reliability/control-plane/infra/trim"
)

func main() {
	tags := flag.String("tags", "", "build tags, with commas between them")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: trim [-tags TAGS] PACKAGE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	modfile, err := trim.Write(ctx, trim.Options{Package: flag.Arg(0), Tags: strings.Split(*tags, ","), Modules: trim.Modules()})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(modfile)
}
