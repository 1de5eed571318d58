-- Prints one JSON line at the end of a wrk run.
done = function(summary, latency, requests)
    local e = summary.errors
    local errors = e.connect + e.read + e.write + e.status + e.timeout
    io.write(string.format('{"per_second": %f, "p99_ms": %f, "errors": %d}\n',
        summary.requests / (summary.duration / 1e6), latency:percentile(99) / 1000, errors))
end
