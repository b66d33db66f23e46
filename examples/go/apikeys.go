package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/lib/pq"
)

// The headers are bind parameters: they never become part of the SQL text.
const (
	authenticate = `
		SELECT status::text, http_status, key_id, account, request_id, headers, error
		  FROM keys.vpk_authenticate($1::text, scope => $2::text, request_id => $3::text,
		                             client_ip => keys.vpk_client_ip($4::text),
		                             cost => $5::integer)`
	startTask = `
		SELECT status::text, http_status, lease, running, allowed, headers, error
		  FROM keys.vpk_task_start($1::text, request_id => $2::text,
		                           client_ip => keys.vpk_client_ip($3::text))`
	finishTask = `SELECT keys.vpk_task_finish($1::uuid)`
)

// A database that hangs must not hold requests for long.
const patience = 5 * time.Second

// What a new connection can mend: this one was lost, or what it has prepared is no longer valid.
var mendable = regexp.MustCompile(`^(0A000|26000|42P05|57P0[123]|08...)$`)

// Keys guards the routes of net/http with API keys. Copy this file: it needs lib/pq, and nothing
// else of this example.
type Keys struct {
	connector *pq.Connector
	pool      *sql.DB
}

func NewKeys(connector *pq.Connector) *Keys {
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(10)
	pool.SetMaxIdleConns(10)
	return &Keys{connector, pool}
}

// A Denial is the response to a request instead of a route's.
type Denial struct {
	status  int
	headers map[string]string
	body    []byte
}

func (d *Denial) Write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	for name, value := range d.headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(d.status)
	w.Write(d.body)
}

const unavailableBody = `{"error": {"code": "UNAVAILABLE", "message": "The service is temporarily unavailable"}}`

// Without an answer from the database there is no access.
func unavailable(err error) *Denial {
	log.Print(err)
	return &Denial{http.StatusServiceUnavailable, nil, []byte(unavailableBody)}
}

// An answer of the database: what denies the request, unless the status is VALID.
type answer struct {
	status        string
	httpStatus    int
	headers, body []byte
}

func (a *answer) denial() *Denial {
	if a.status == "VALID" {
		return nil
	}
	var headers map[string]string
	if err := json.Unmarshal(a.headers, &headers); err != nil {
		return unavailable(err)
	}
	return &Denial{a.httpStatus, headers, a.body}
}

// Asks the database; if allowed, once more on a new connection where that can help. So allow it
// only for what can be repeated without harm.
func (k *Keys) ask(again bool, into []any, query string, values ...any) error {
	ask := func(pool *sql.DB) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return pool.QueryRowContext(ctx, query, values...).Scan(into...)
	}
	err := ask(k.pool)
	var failure *pq.Error
	if err == nil || !again || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &failure) && !mendable.MatchString(string(failure.Code)) {
		return err
	}
	log.Print("asking again: ", err)
	fresh := sql.OpenDB(k.connector) // the pool's other connections may be as old
	defer fresh.Close()
	return ask(fresh)
}

// Ping tells whether the database answers.
func (k *Keys) Ping() *Denial {
	var one int
	if err := k.ask(true, []any{&one}, "SELECT 1"); err != nil {
		return unavailable(err)
	}
	return nil
}

// A Caller is who has sent a request.
type Caller struct {
	Account, RequestID, token, address string
}

// A header's values. PostgreSQL takes no text that is not UTF-8; no key has such bytes.
func header(r *http.Request, name string) string {
	return strings.ToValidUTF8(strings.Join(r.Header.Values(name), ", "), "\uFFFD")
}

// Guarded lets nobody without a key reach the route, nor without the scope if it is not empty. The
// cost is what a request takes of rate limits and quotas: 0 if it starts a task, since AsTask takes
// it then.
func (k *Keys) Guarded(scope string, cost int, route func(http.ResponseWriter, *http.Request, Caller)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, denial := k.authenticate(r, scope, cost)
		if denial != nil {
			denial.Write(w)
			return
		}
		w.Header().Set("X-Request-Id", caller.RequestID)
		route(w, r, caller)
	}
}

func (k *Keys) authenticate(r *http.Request, scope string, cost int) (Caller, *Denial) {
	authorization := header(r, "Authorization")
	// The proxy in front of this service adds the client's address to X-Forwarded-For. Without a
	// proxy, take r.RemoteAddr instead: a client can send that header too.
	address := header(r, "X-Forwarded-For")
	needed := sql.NullString{String: scope, Valid: scope != ""}
	var a answer
	var id string
	var key, account sql.NullString
	into := []any{&a.status, &a.httpStatus, &key, &account, &id, &a.headers, &a.body}
	err := k.ask(true, into, authenticate, authorization, needed, header(r, "X-Request-Id"), address, cost)
	if err != nil {
		return Caller{}, unavailable(err)
	}
	log.Print(a.status, " ", key.String, " ", account.String, " ", id)
	if denial := a.denial(); denial != nil {
		return Caller{}, denial
	}
	words := strings.Fields(authorization)
	return Caller{account.String, id, words[len(words)-1], address}, nil
}

// Tasks is how many tasks of an account run, and how many may: nil for any number.
type Tasks struct {
	Running, Allowed *int
}

// AsTask does the work as one of the concurrent tasks that the account's plan allows. It costs 1 of
// rate limits and quotas. The start is asked once: if its answer is lost, the task may have started.
// Its lease ends after 15 minutes then.
func (k *Keys) AsTask(caller Caller, work func(Tasks)) *Denial {
	var a answer
	var lease sql.NullString
	var tasks Tasks
	into := []any{&a.status, &a.httpStatus, &lease, &tasks.Running, &tasks.Allowed, &a.headers, &a.body}
	err := k.ask(false, into, startTask, caller.token, caller.RequestID, caller.address)
	if err != nil {
		return unavailable(err)
	}
	if denial := a.denial(); denial != nil {
		return denial
	}
	defer func() {
		var finished bool
		if err := k.ask(true, []any{&finished}, finishTask, lease.String); err != nil {
			log.Print(err) // the lease ends by itself
		}
	}()
	work(tasks)
	return nil
}
