package completion

import (
	"net/http"

	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// modelList is https://platform.openai.com/docs/api-reference/models/list.
type modelList struct {
	Object string  `json:"object"`
	Data   []model `json:"data"`
}

type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func handleModels(gw *gateway.Gateway) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		list := modelList{Object: "list", Data: []model{}}
		for _, name := range gw.Models() {
			list.Data = append(list.Data, model{ID: name, Object: "model", OwnedBy: "llm-reliability-control-plane"})
		}
		httpjson.Write(w, http.StatusOK, list)
	})
}

// unknownModel makes a request of which only the model is wrong what OpenAI makes of it: 404, which its clients have an error for.
func unknownModel(p *httpjson.Problem) *httpjson.Problem {
	if p.Status == http.StatusBadRequest && len(p.Errors) == 1 && p.Errors[0].Field == "model" {
		not := *p
		not.Status, not.Code = http.StatusNotFound, "model_not_found"
		return &not
	}
	return p
}
