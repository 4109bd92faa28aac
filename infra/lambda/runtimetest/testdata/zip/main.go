// Command zip zips a binary as make package does. It is a process of its own because compressing takes long under the race
// detector.
package main

import (
	"fmt"
	"os"

	"github.com/llm-reliability/control-plane/infra/lambda/bundle"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(binary, target string) error {
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	zipped, err := bundle.Zip(content)
	if err != nil {
		return err
	}
	return os.WriteFile(target, zipped, 0o600)
}
