// Reads dashboards with the types that Grafana publishes: unknown fields, missing ones and values out of range are errors.
package main

import (
    "fmt"
    "os"

    "github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
    "github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
    plugins.RegisterDefaultPlugins()
    for _, path := range os.Args[1:] {
        panels, err := check(path)
        if err != nil {
            fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
            os.Exit(1)
        }
        fmt.Printf("%s: %d panels and rows\n", path, panels)
    }
}

func check(path string) (int, error) {
    text, err := os.ReadFile(path)
    if err != nil {
        return 0, err
    }
    var board dashboard.Dashboard
    // Without errors it returns an empty list of them, which is not nil.
    if err := board.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
        return 0, err
    }
    return len(board.Panels), board.Validate()
}
