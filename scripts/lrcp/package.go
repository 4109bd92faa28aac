package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/llm-reliability/control-plane/infra/lambda/bundle"
	"github.com/llm-reliability/control-plane/infra/lambda/template"
)

// packageCommand makes everything that a deployment to Lambda uploads, and deploys nothing.
type packageCommand struct {
	Dir    string            `help:"Root of the repository." default:"." type:"existingdir"`
	Stage  string            `help:"Stage that the stack is named for." default:"dev"`
	Region string            `help:"Region of the stack." default:"us-east-1"`
	Param  map[string]string `help:"A parameter of serverless.yml, name=value; placeholders stand for those that are required." mapsep:"none"`
}

// Run implements the command.
func (c *packageCommand) Run(ctx context.Context, out io.Writer) error {
	if _, err := os.Stat(filepath.Join(c.Dir, "serverless.yml")); err != nil {
		return fmt.Errorf("package: this is not the root of the repository, give it with --dir: %w", err)
	}
	// This comes before the functions are built, which can take minutes.
	if err := template.Installed(c.Dir); err != nil {
		return err
	}
	params := template.Placeholders(c.Region)
	maps.Copy(params, c.Param)
	zips, err := bundle.Build(ctx, bundle.Options{
		Dir: c.Dir, Out: filepath.Join(c.Dir, "build", "lambda"), Functions: template.Functions(), Route: params["provider"],
		Progress: func(function string) { fmt.Fprintf(out, "building %s\n", function) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "packaging serverless.yml")
	data, err := template.Package(ctx, template.PackageOptions{Dir: c.Dir, Stage: c.Stage, Region: c.Region, Params: params})
	if err != nil {
		return err
	}
	if err := table(out, zips); err != nil {
		return err
	}
	if problems := template.Check(data); len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintf(out, "WRONG %s\n", p)
		}
		return statusFailed
	}
	fmt.Fprintln(out, "The template keeps all rules of infra/lambda/template.")
	return nil
}

// table prints what was made.
func table(out io.Writer, zips []bundle.Artifact) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(w, "\nfunction\tbinary MB\tzip MB\tsha256")
	for _, z := range zips {
		_, rowErr := fmt.Fprintf(w, "%s\t%9.1f\t%6.1f\t%s\n", z.Function, megabytes(z.BinaryBytes), megabytes(z.Bytes), z.SHA256)
		err = errors.Join(err, rowErr)
	}
	_, endErr := fmt.Fprintln(w)
	if err = errors.Join(err, endErr, w.Flush()); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }
