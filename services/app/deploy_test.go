package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"pomodoro.cc/services/internal/testbed"

	"pomodoro.cc/services/internal/contract"
)

// replace starts a new version of a service, swaps it in and stops the old one.
func (s *stage) replace(service string, old **program, env []string, build int) error {
	next, err := launch(service, env)
	if err != nil {
		return err
	}
	version := strconv.Itoa(build)
	err = s.admin("swap", service, "--target", "http://"+next.addr, "--version", "v"+version, "--build", version, "--watch", "0s", "--streams", "1s")
	if err != nil {
		next.stop()
		return err
	}
	(*old).stop()
	*old = next
	return nil
}

// A visitor with a running timer, a team's room and an event stream, while both
// services are replaced ten times under it.
func TestDeploy_TenSwapsOfAppAndApiAreNotNoticed(t *testing.T) {
	mongo, redis := testbed.Mongo(t).Database(t, "swaps"), testbed.Redis(t).URL
	s := ownSite(t)
	onServers := append([]string{"MONGO_URL=" + mongo, "REDIS_URL=" + redis}, quick...)
	if err := s.replace("api", &s.api, onServers, 1); err != nil {
		t.Fatal(err)
	}
	p := visit(t, s, "/")
	p.logsIn("swaps")
	p.hasTodos("survive")
	p.press("\x1b1 ")
	p.shows("#toggle", "Stop")
	room := p.another("/team/swaps")
	room.click("#team-starts button:nth-child(1)")
	room.shows("#team-stop", "Stop")
	for _, tab := range []*tab{p, room} {
		eval[bool](tab, watchJumps)
	}
	for build := 2; build <= 11; build++ {
		var deploy sync.WaitGroup
		var ofApp, ofAPI error
		deploy.Go(func() { ofApp = s.replace("app", &s.app, quick, build) })
		deploy.Go(func() { ofAPI = s.replace("api", &s.api, onServers, build) })
		p.write("#todo", fmt.Sprint("during ", build))
		deploy.Wait()
		if err := errors.Join(ofApp, ofAPI); err != nil {
			t.Fatal(err)
		}
		p.write("#todo", fmt.Sprint("after ", build))
	}
	contract.Until(t, "every todo is stored", func() bool { return len(p.items("/api/todos")) == 21 })
	room.write("#my-name", "Still here")
	room.shows("#team-people", "Still here")
	for _, tab := range []*tab{p, room} {
		if jumps := eval[[]string](tab, `window.jumps`); len(jumps) > 0 {
			t.Errorf("visible jumps: %v", jumps)
		}
		tab.shows("#user", "swaps")
	}
	p.press("\x1b ")
	p.shows("#toggle", "Start")
	contract.Until(t, "the entry is stored", func() bool { return len(p.items("/api/pomodoro")) == 1 })
	device := visit(t, s, "/")
	device.logsIn("swaps")
	device.sees(`document.querySelectorAll("#todos li").length === 21`)
	p.click("#todos li:nth-child(1) input") // the event stream is alive
	device.sees(`document.querySelectorAll("#todos li.completed").length === 1`)
}

// watchJumps notes in jumps whatever a visitor could notice on the page: digits
// that go up or leap, a running timer that seems stopped, a session that seems
// ended, a word about the connection.
const watchJumps = `(() => {
	window.jumps = [];
	const seconds = (id) => { const [m, s] = document.getElementById(id).innerText.split(":").map(Number); return m * 60 + s; };
	const shown = location.pathname.startsWith("/team") ? "team-digits" : "digits";
	let last = seconds(shown);
	new MutationObserver(() => {
		const now = seconds(shown);
		if (now > last || now < last - 10) jumps.push(last + " to " + now);
		last = now;
		if (shown === "digits" && document.getElementById("toggle").innerText !== "Stop") jumps.push("the timer seems stopped");
		if (shown === "team-digits" && document.getElementById("team-stop").hidden) jumps.push("the team's timer seems stopped");
		if (document.getElementById("user").hidden) jumps.push("the session seems ended");
		for (const id of ["connection", "team-status"]) if (document.getElementById(id).innerText) jumps.push(document.getElementById(id).innerText);
	}).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
	return true;
})()`
