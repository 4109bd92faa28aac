// Package labelled makes pairs of a document and an answer of which it is known whether the document supports the answer, by rule,
// from real prose: the documentation of Go's standard library, which is on every machine that builds this. It is what the quality
// signals are measured with, and holds no text of its own but tables of words.
//
// What is made by rule is easier than what a model gets wrong: a signal that is good here may still miss a subtle lie. Figures
// compare signals with each other, and are no forecast.
package labelled

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/llm-reliability/control-plane/shared/prose"
)

// Document is a text with the sentences of it that say something.
type Document struct {
	// Name is the package that it documents.
	Name      string
	Text      string
	Sentences []string
}

// Bounds of documents, in bytes and sentences.
const (
	longest = 6000
	fewest  = 8
)

// Documents reads the documentation of the standard library: one document for each package that has enough of it, in the order of
// their names.
func Documents() ([]Document, error) {
	root := filepath.Join(build.Default.GOROOT, "src")
	var docs []Document
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains([]string{"cmd", "vendor", "testdata", "internal", "builtin", "unsafe"}, d.Name()) {
			return fs.SkipDir
		}
		text, err := documentation(path)
		if err != nil {
			return fmt.Errorf("read documentation of %s: %w", name, err)
		}
		if doc := cut(name, text); len(doc.Sentences) >= fewest {
			docs = append(docs, doc)
		}
		return nil
	})
	return docs, err
}

// documentation is what the comments of a package say to its users.
func documentation(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	var paragraphs []string
	add := func(c *ast.CommentGroup) {
		if text := plain(c.Text()); text != "" {
			paragraphs = append(paragraphs, text)
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return "", err
		}
		add(f.Doc)
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() {
					add(d.Doc)
				}
			case *ast.GenDecl:
				add(d.Doc)
			}
		}
	}
	return strings.Join(paragraphs, "\n\n"), nil
}

// plain keeps the paragraphs of a comment that are prose, and none of its headings, code, lists and links.
func plain(comment string) string {
	var kept []string
	for paragraph := range strings.SplitSeq(comment, "\n\n") {
		if strings.ContainsAny(paragraph, "\t{}=<>|") || strings.HasPrefix(paragraph, " ") || strings.HasPrefix(paragraph, "#") ||
			strings.Contains(paragraph, "://") || strings.Contains(paragraph, "\n ") || strings.Contains(paragraph, "\n-") {
			continue
		}
		kept = append(kept, strings.NewReplacer("[", "", "]", "", "``", `"`, "''", `"`).Replace(paragraph))
	}
	return strings.Join(kept, "\n\n")
}

// cut makes a document of a text: as many whole sentences as fit.
func cut(name, text string) Document {
	doc := Document{Name: name}
	seen := map[string]bool{}
	for _, s := range prose.Sentences(text) {
		if seen[s] || len(doc.Text)+len(s) > longest {
			continue
		}
		seen[s] = true
		doc.Text += s + "\n\n"
		if statement(s) {
			doc.Sentences = append(doc.Sentences, s)
		}
	}
	return doc
}

// statement is whether a sentence is of a usual length, and whole.
func statement(s string) bool {
	words := strings.Fields(s)
	first := []rune(s)[0]
	return len(words) >= 7 && len(words) <= 40 && unicode.IsUpper(first) && strings.HasSuffix(s, ".") && !strings.Contains(s, ":") && len(prose.Terms(s)) >= 4
}
