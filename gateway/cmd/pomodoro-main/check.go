package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/config"
)

func checkCommand() *cobra.Command {
	c := &cobra.Command{Use: "check FILE", Short: "Say everything that is wrong with a routes.yaml", Args: exactly(1, "one file"),
		Example: "  pomodoro-main check routes.yaml\n  pomodoro-main check --json routes.yaml"}
	asJSON := c.Flags().Bool("json", false, "the problems as a JSON list")
	c.RunE = func(c *cobra.Command, args []string) error {
		file, _, err := gateway.Load(args[0])
		var problems config.Problems
		if err != nil && !errors.As(err, &problems) {
			return err
		}
		if *asJSON {
			if problems == nil {
				problems = config.Problems{}
			}
			json.NewEncoder(c.OutOrStdout()).Encode(problems)
		} else if err == nil {
			fmt.Fprintf(c.OutOrStdout(), "%s: %d routes to %d services, no problem\n", args[0], len(file.Routes), len(file.Services))
		}
		if err != nil && *asJSON {
			return failed(exitUsage)
		}
		return err
	}
	return c
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{Use: "schema", Short: "Print the JSON Schema of routes.yaml", Args: exactly(0, "no argument"),
		Example: "  pomodoro-main schema > routes.schema.json",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(config.Schema())
			return err
		}}
}
