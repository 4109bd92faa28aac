// Package embedded is a model that needs no download and no network. It answers a question with the sentences of the
// document that answer it best, and completes a prompt with the sentences that say most about it. It is deterministic,
// it knows nothing of its own, and every response names it as what it is: provider "embedded".
//
// It exists so that the whole system works on one machine, with answers whose quality can be measured. It is no language
// model: it never writes a word that it was not given, but for the two sentences that say that it has no answer.
package embedded

import (
	"context"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/prose"
)

// Provider is the provider's name in responses, telemetry and the catalogue.
const Provider = "embedded"

// The models, which differ in how much they look at and how much they say.
const (
	Economy  = "embedded-economy"
	Standard = "embedded-standard"
	Quality  = "embedded-quality"
)

// The answers where there is nothing to quote.
const (
	noAnswer    = "The document does not answer the question."
	noKnowledge = "The embedded model has no knowledge of its own and answers from a document only."
)

// Model implements llm.Model. The zero value is ready.
type Model struct{}

var _ llm.Model = Model{}

// New returns the model.
func New() Model { return Model{} }

// ranking is how a model ranks sentences and how many it quotes.
type ranking struct {
	// quoted is the most sentences in an answer, summed the most in a completion.
	quoted, summed int
	// share is what part of the best score a further sentence needs.
	share float64
	// pairs is the weight of neighbouring question words that are neighbours in a sentence; neighbours that of the score
	// of the sentences around it; hints that of the kind of thing that is asked for.
	pairs, neighbours, hints float64
}

func rankingOf(model string) (ranking, bool) {
	switch model {
	case Economy:
		return ranking{quoted: 1, summed: 1, share: 1}, true
	case Standard:
		return ranking{quoted: 2, summed: 2, share: 0.75, pairs: 1, hints: 0.5}, true
	case Quality:
		return ranking{quoted: 3, summed: 3, share: 0.65, pairs: 1.5, neighbours: 0.15, hints: 0.75}, true
	}
	return ranking{}, false
}

// Generate implements llm.Model.
func (Model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, llm.AsError(err)
	}
	r, ok := rankingOf(req.Model)
	if !ok {
		return nil, &llm.Error{Kind: llm.NotFound, Provider: Provider, Model: req.Model}
	}
	text := ""
	if req.Question != "" {
		text = quote(req.Question, req.Document, r)
	} else {
		text = complete(req.Messages, r)
	}
	finish := llm.FinishStop
	text = stop(text, req.Stop)
	if req.MaxTokens > 0 && Tokens(text) > req.MaxTokens {
		text, finish = truncate(text, req.MaxTokens), llm.FinishLength
	}
	usage := llm.Usage{OutputTokens: Tokens(text)}
	for _, m := range req.Messages {
		usage.InputTokens += Tokens(m.Content)
	}
	if text == "" {
		return nil, &llm.Error{Kind: llm.Empty, Provider: Provider, Model: req.Model, Usage: &usage}
	}
	return &llm.Response{Text: text, Model: req.Model, Provider: Provider, Finish: finish, Usage: &usage}, nil
}

// Stream implements llm.Model. It yields a few words at a time; every chunk carries the usage up to it, so that what was
// sent is billed when the client goes away.
func (m Model) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		r, err := m.Generate(ctx, req)
		if err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		usage := llm.Usage{InputTokens: r.Usage.InputTokens}
		for piece := range pieces(r.Text) {
			if err := ctx.Err(); err != nil {
				yield(llm.Chunk{}, llm.AsError(err))
				return
			}
			usage.OutputTokens += Tokens(piece)
			sent := usage
			if !yield(llm.Chunk{Text: piece, Usage: &sent, Model: r.Model}, nil) {
				return
			}
		}
		yield(llm.Chunk{Finish: r.Finish, Usage: r.Usage, Model: r.Model}, nil)
	}
}

// pieces cuts a text into groups of four words; joined they are the text.
func pieces(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		const group = 4
		start, words := 0, 0
		for i, r := range text {
			if r != ' ' {
				continue
			}
			if words++; words == group {
				if !yield(text[start:i]) {
					return
				}
				start, words = i, 0
			}
		}
		yield(text[start:])
	}
}

// Tokens counts the tokens of a text: every word costs one token for each four characters or part of them, and every
// other mark that is not white space costs one. It is a count of this model's own, not that of any provider.
func Tokens(text string) int {
	n, run := 0, 0
	for _, r := range text {
		switch {
		case r == ' ' || r == '\n' || r == '\t' || r == '\r':
			run = 0
		case r < utf8.RuneSelf && !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'):
			n++
			run = 0
		default:
			if run%4 == 0 {
				n++
			}
			run++
		}
	}
	return n
}

// truncate keeps as many whole words as fit into the given number of tokens, and at least the first piece of one.
func truncate(text string, tokens int) string {
	end, n := 0, 0
	for i, word := 0, ""; i < len(text); i += len(word) {
		word = text[i:]
		if space := strings.IndexByte(word[1:], ' '); space >= 0 {
			word = word[:space+1]
		}
		if n += Tokens(word); n > tokens {
			break
		}
		end = i + len(word)
	}
	if end == 0 {
		for i := range text {
			if Tokens(text[:i]) >= tokens {
				return text[:i]
			}
		}
	}
	return text[:end]
}

func stop(text string, marks []string) string {
	for _, mark := range marks {
		if i := strings.Index(text, mark); mark != "" && i >= 0 {
			text = text[:i]
		}
	}
	return strings.TrimSpace(text)
}

// quote answers a question with the sentences of the document that match it best, in the order of the document.
func quote(question, document string, r ranking) string {
	if strings.TrimSpace(document) == "" {
		return noKnowledge
	}
	sentences := prose.Sentences(document)
	scores := rank(question, sentences, r)
	if text := best(sentences, scores, r.quoted, r.share); text != "" {
		return text
	}
	return noAnswer
}

// complete extracts from the last message of the user. Its longest line or paragraph is the material when there is more
// than an instruction; the sentences that share most with the whole of it are its summary. A question in the message is
// answered from the rest of the conversation.
func complete(messages []llm.Message, r ranking) string {
	var last string
	var before []string
	for _, m := range messages {
		if m.Role == llm.User {
			if last != "" {
				before = append(before, last)
			}
			last = m.Content
		}
	}
	instruction, material := split(last)
	if material == "" {
		material = strings.Join(before, "\n\n")
	}
	if material == "" {
		return noKnowledge
	}
	if strings.Contains(instruction, "?") {
		return quote(instruction, material, r)
	}
	sentences := prose.Sentences(material)
	scores := central(sentences)
	if text := best(sentences, scores, r.summed, 0); text != "" {
		return text
	}
	return noKnowledge
}

// split tells the instruction in a message from the material that it is about: a question anywhere, or else what stands
// before the first colon or line break of the first 200 bytes.
func split(message string) (instruction, material string) {
	sentences := prose.Sentences(message)
	for i, s := range sentences {
		if strings.HasSuffix(s, "?") {
			return s, strings.Join(append(sentences[:i:i], sentences[i+1:]...), " ")
		}
	}
	head := message[:min(len(message), 200)]
	if i := strings.IndexAny(head, ":\n"); i >= 0 && strings.TrimSpace(message[i+1:]) != "" {
		return message[:i], message[i+1:]
	}
	return "", message
}
