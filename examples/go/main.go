// An API whose callers have API keys: see README.md.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"
)

func send(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// A random UUID.
func newID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func main() {
	// PGHOST, PGDATABASE, PGUSER, ... say where. Parameters are sent with the statement, so that
	// none is prepared: it works with pgbouncer in every mode.
	connector, err := pq.NewConnector("binary_parameters=yes connect_timeout=5")
	if err != nil {
		log.Fatal(err)
	}
	keys := NewKeys(connector)

	routes := http.NewServeMux()
	// Open to everybody. Whether this service can answer depends on the database.
	routes.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		if denial := keys.Ping(); denial != nil {
			denial.Write(w)
			return
		}
		send(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	routes.HandleFunc("/v1/tasks/", keys.Guarded("", 1, func(w http.ResponseWriter, r *http.Request, caller Caller) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		id := strings.TrimPrefix(r.URL.Path, "/v1/tasks/")
		send(w, http.StatusOK, map[string]any{"id": id, "account": caller.Account, "status": "done"})
	}))
	routes.HandleFunc("/v1/tasks", keys.Guarded("tasks:write", 0, func(w http.ResponseWriter, r *http.Request, caller Caller) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		var task map[string]any
		denial := keys.AsTask(caller, func(tasks Tasks) {
			// Here the task does its work.
			task = map[string]any{"id": newID(), "account": caller.Account, "status": "done",
				"running": tasks.Running, "allowed": tasks.Allowed}
		})
		if denial != nil {
			denial.Write(w)
			return
		}
		send(w, http.StatusCreated, task)
	}))

	// lib/pq waits for a database that hangs, whatever the context says.
	limited := http.TimeoutHandler(routes, 2*patience+time.Second, unavailableBody)
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json") // of that body; a route sets its own
		limited.ServeHTTP(w, r)
	}

	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: "127.0.0.1:" + port, Handler: http.HandlerFunc(handler)}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		<-ended
		server.Shutdown(context.Background()) // when all requests have answers
		close(done)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-done
}
