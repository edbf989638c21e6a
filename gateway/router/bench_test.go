package router_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pomodoro.cc/gateway/router"
)

// The requests of a benchmark: a table's size decides which rules they hit,
// never how many requests there are or how long their texts.
const askedRequests = 1 << 10

type request struct{ host, path string }

// shapes are tables of n rules with a request for each. All texts of a shape
// are equally long, so that only the table's size differs.
var shapes = []struct {
	name string
	rule func(i int) (rule, request)
}{
	{"hosts", func(i int) (rule, request) {
		host := fmt.Sprintf("shop-%06d.example.org", i)
		return rule{Host: host, Path: "/", Value: host}, request{host, "/basket/17"}
	}},
	{"wildcards", func(i int) (rule, request) {
		host := fmt.Sprintf("shop-%06d.example.org", i)
		return rule{Host: "*." + host, Path: "/", Value: host}, request{"www." + host, "/basket/17"}
	}},
	{"paths", func(i int) (rule, request) {
		path := fmt.Sprintf("/tenant-%06d", i)
		return rule{Host: "example.org", Path: path, Value: path}, request{"example.org", path + "/basket/17"}
	}},
	{"deep_paths", func(i int) (rule, request) {
		path := fmt.Sprintf("/api/v1/tenant-%06d/basket", i)
		return rule{Host: "example.org", Path: path, Value: path}, request{"example.org", path + "/17"}
	}},
	{"hosts_and_paths", func(i int) (rule, request) {
		host, path := fmt.Sprintf("shop-%06d.example.org", i/2), fmt.Sprintf("/part-%d", i%2)
		return rule{Host: host, Path: path, Value: host}, request{host, path + "/basket/17"}
	}},
}

func benchmark(b *testing.B, n int) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			rules, known := make([]rule, n), make([]request, n)
			for i := range n {
				rules[i], known[i] = shape.rule(i)
			}
			routes, err := router.New(rules)
			if err != nil {
				b.Fatal(err)
			}
			ask := func(b *testing.B, asked []request) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					r := &asked[i%len(asked)]
					i++
					if _, ok := routes.Match(r.host, r.path, "GET", nil); !ok {
						b.Fatalf("no route for %v", *r)
					}
				}
			}
			random := rand.New(rand.NewPCG(1, 2))
			asked := make([]request, askedRequests)
			for i := range asked {
				asked[i] = known[random.IntN(n)]
			}
			// A site's busy routes: what is asked again and again.
			b.Run("busy", func(b *testing.B) { ask(b, asked) })
			// Every route in turn, in no order: the worst for the processor's caches.
			b.Run("all", func(b *testing.B) {
				random.Shuffle(n, func(i, j int) { known[i], known[j] = known[j], known[i] })
				for i, r := range known {
					// Copied in the order asked: a request's text has just come
					// off a socket, so that it is the table alone that is cold.
					known[i] = request{strings.Clone(r.host), strings.Clone(r.path)}
				}
				ask(b, known)
			})
		})
	}
}

func BenchmarkMatch10(b *testing.B)     { benchmark(b, 10) }
func BenchmarkMatch100000(b *testing.B) { benchmark(b, 100_000) }
