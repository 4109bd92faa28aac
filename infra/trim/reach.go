package trim

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// reach returns the files that are left of the packages of modules, by import path and by name.
func reach(packages []listed, modules []string) (map[string]map[string][]byte, error) {
	r := reacher{names: map[string]string{}, trimmed: map[string]*trimmed{}}
	for _, p := range packages {
		r.names[p.ImportPath] = p.Name
		if of(p, modules) {
			r.trimmed[p.ImportPath] = &trimmed{listed: p, declared: map[string][]*declaration{}}
		}
	}
	for _, t := range r.trimmed {
		if err := r.parse(t); err != nil {
			return nil, err
		}
	}
	for _, p := range packages {
		if of(p, modules) || !slices.ContainsFunc(p.Imports, func(path string) bool { return r.trimmed[path] != nil }) {
			continue
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, fmt.Errorf("parse a package that uses what is trimmed: %w", err)
			}
			imports, err := r.imports(f)
			if err != nil {
				return nil, fmt.Errorf("package %s, %s: %w", p.ImportPath, name, err)
			}
			r.uses(f, imports)
		}
	}
	left := map[string]map[string][]byte{}
	for path, t := range r.trimmed {
		left[path] = map[string][]byte{}
		for _, f := range t.files {
			if f.reached {
				left[path][f.name] = f.left()
			}
		}
	}
	return left, nil
}

// trimmed is a package of which only what is reached is left.
type trimmed struct {
	listed
	files []*file
	// declared are the declarations that come with a name: the one of a function, a constant or a variable, and those of a type and of
	// all its methods.
	declared map[string][]*declaration
}

type file struct {
	name    string
	source  []byte
	set     *token.FileSet
	syntax  *ast.File
	imports map[string]string
	reached bool
	// always are reached as soon as anything of the file is: what it does when it is initialised.
	always, all []*declaration
}

type declaration struct {
	ast.Decl
	in      *file
	reached bool
}

// reacher follows what a program uses of the trimmed packages, which are by import path. The names are those of all packages.
type reacher struct {
	names   map[string]string
	trimmed map[string]*trimmed
}

// parse reads the files of a package.
func (r *reacher) parse(t *trimmed) error {
	for _, others := range [][]string{t.CgoFiles, t.SFiles, t.HFiles, t.CFiles, t.CXXFiles, t.SysoFiles, t.EmbedPatterns} {
		if len(others) > 0 {
			return fmt.Errorf("package %s can't be trimmed: it is made from more than Go, such as %s", t.ImportPath, others[0])
		}
	}
	for _, name := range t.GoFiles {
		source, err := os.ReadFile(filepath.Join(t.Dir, name))
		if err != nil {
			return fmt.Errorf("read what is trimmed: %w", err)
		}
		f := &file{name: name, source: source, set: token.NewFileSet()}
		if f.syntax, err = parser.ParseFile(f.set, name, source, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return fmt.Errorf("parse what is trimmed: package %s: %w", t.ImportPath, err)
		}
		if f.imports, err = r.imports(f.syntax); err != nil {
			return fmt.Errorf("package %s, %s: %w", t.ImportPath, name, err)
		}
		t.files = append(t.files, f)
		for _, syntax := range f.syntax.Decls {
			d := &declaration{Decl: syntax, in: f}
			for _, n := range namesOf(syntax) {
				if n == "init" || n == "_" {
					f.always = append(f.always, d)
				} else {
					t.declared[n] = append(t.declared[n], d)
				}
			}
			f.all = append(f.all, d)
		}
	}
	return nil
}

// namesOf returns the names that bring a declaration with them; nil for imports.
func namesOf(d ast.Decl) []string {
	var names []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return []string{d.Name.Name}
		}
		receiver := d.Recv.List[0].Type
		for {
			switch e := receiver.(type) {
			case *ast.StarExpr:
				receiver = e.X
			case *ast.ParenExpr:
				receiver = e.X
			case *ast.IndexExpr:
				receiver = e.X
			case *ast.IndexListExpr:
				receiver = e.X
			case *ast.Ident:
				return []string{e.Name}
			default:
				// Not Go that compiles.
				return []string{"_"}
			}
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			case *ast.ValueSpec:
				for _, n := range s.Names {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}

// imports returns the import paths of a file, by the name that the file selects from them with.
func (r *reacher) imports(f *ast.File) (map[string]string, error) {
	imports := map[string]string{}
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("import %s: %w", i.Path.Value, err)
		}
		name := r.names[path]
		if i.Name != nil {
			name = i.Name.Name
		}
		if (name == "_" || name == ".") && r.trimmed[path] != nil {
			return nil, fmt.Errorf("it imports %s as %s, so that nobody can tell what it uses", path, name)
		}
		imports[name] = path
	}
	return imports, nil
}

// uses reaches what a piece of syntax selects from trimmed packages.
func (r *reacher) uses(n ast.Node, imports map[string]string) {
	for s := range selections(n) {
		if t := r.trimmed[imports[s.from]]; t != nil {
			r.reach(t, s.name)
		}
	}
}

// selection is a name that is selected from another one.
type selection struct{ from, name string }

func selections(n ast.Node) map[selection]bool {
	found := map[selection]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				found[selection{x.Name, s.Sel.Name}] = true
			}
		}
		return true
	})
	return found
}

// reach marks what a name of a package stands for, and what that uses in turn. A name that is a parameter's or a variable's
// reaches the declaration of the same name, too, if there is one: more is left then than is needed, and never less.
func (r *reacher) reach(t *trimmed, name string) {
	for _, d := range t.declared[name] {
		r.mark(t, d)
	}
}

func (r *reacher) mark(t *trimmed, d *declaration) {
	if d.reached {
		return
	}
	d.reached = true
	if !d.in.reached {
		d.in.reached = true
		for _, a := range d.in.always {
			r.mark(t, a)
		}
	}
	r.uses(d.Decl, d.in.imports)
	for name := range identifiers(d.Decl) {
		r.reach(t, name)
	}
}

// identifiers returns the names in a declaration that may stand for something of its package. Those of fields, methods and
// parameters don't, nor does what is selected from something else. The keys of composite literals may, since those of maps and
// arrays do.
func identifiers(d ast.Decl) map[string]bool {
	found := map[string]bool{}
	var look func(n ast.Node) bool
	look = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			ast.Inspect(n.X, look)
			return false
		case *ast.Field:
			ast.Inspect(n.Type, look)
			return false
		case *ast.FuncDecl:
			if n.Recv != nil {
				ast.Inspect(n.Recv, look)
			}
			ast.Inspect(n.Type, look)
			if n.Body != nil {
				ast.Inspect(n.Body, look)
			}
			return false
		case *ast.Ident:
			found[n.Name] = true
		}
		return true
	}
	ast.Inspect(d, look)
	return found
}

// left returns the file with everything blanked out that is not reached, so that each line keeps its number.
func (f *file) left() []byte {
	left := slices.Clone(f.source)
	blank := func(from, to token.Pos) {
		for i := f.set.Position(from).Offset; i < f.set.Position(to).Offset; i++ {
			if left[i] != '\n' {
				left[i] = ' '
			}
		}
	}
	used := map[string]bool{}
	for _, d := range f.all {
		if imports, ok := d.Decl.(*ast.GenDecl); ok && imports.Tok == token.IMPORT {
			continue
		}
		if !d.reached {
			blank(d.begin(), d.End())
			continue
		}
		for s := range selections(d.Decl) {
			used[f.imports[s.from]] = true
		}
	}
	for _, d := range f.syntax.Decls {
		imports, ok := d.(*ast.GenDecl)
		if !ok || imports.Tok != token.IMPORT {
			continue
		}
		for _, s := range imports.Specs {
			spec, ok := s.(*ast.ImportSpec)
			if !ok {
				continue
			}
			// Go refuses an import that nothing is selected from, unless it is for what the package does when it is initialised.
			path, err := strconv.Unquote(spec.Path.Value)
			switch {
			case err != nil, used[path], spec.Name != nil && (spec.Name.Name == "_" || spec.Name.Name == "."):
			case imports.Lparen.IsValid():
				blank(spec.Pos(), spec.End())
			default:
				blank(imports.Pos(), imports.End())
			}
		}
	}
	return left
}

// begin is where a declaration begins with its comment, which may hold instructions for the compiler.
func (d *declaration) begin() token.Pos {
	doc := (*ast.CommentGroup)(nil)
	switch d := d.Decl.(type) {
	case *ast.FuncDecl:
		doc = d.Doc
	case *ast.GenDecl:
		doc = d.Doc
	}
	if doc != nil {
		return doc.Pos()
	}
	return d.Pos()
}
