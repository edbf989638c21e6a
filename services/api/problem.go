package main

import (
	"encoding/json"
	"net/http"

	"pomodoro.cc/services/api/internal/store"
)

// problem is an error answer as in RFC 9457.
type problem struct {
	Type      string           `json:"type"`
	Title     string           `json:"title"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail,omitempty"`
	Fields    fields           `json:"fields,omitempty"`
	Conflicts []store.Pomodoro `json:"conflicts,omitempty"`
}

// fail answers with a problem that needs no more than a sentence.
func fail(w http.ResponseWriter, status int, detail string) {
	problem{Status: status, Detail: detail}.write(w)
}

// unanswerable answers a query whose parameters are wrong.
func unanswerable(w http.ResponseWriter, wrong fields) {
	problem{Status: http.StatusUnprocessableEntity, Detail: "the query cannot be answered", Fields: wrong}.write(w)
}

func (p problem) write(w http.ResponseWriter) {
	p.Type = "about:blank"
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	send(w, p.Status, p)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	send(w, status, body)
}

func send(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client left: nothing to tell it
}
