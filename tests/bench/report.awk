# SPDX-License-Identifier: MIT
# report.awk: makes the tables and the lines of ratios from what measure.sh wrote.

BEGIN { FS = "\t" }

$1 == "rate" {
	has_rates = 1
	rate[$2, $3, $4, $5, $6] = $7
	errors += $8
	if ($8 > 0)
		failed = failed sprintf("%s %s %s clients %s: %d errors\n", $2, $3, $4, $5, $8)
	if ($6 > rounds)
		rounds = $6
	has_parley = has_parley || $5 == "parley"
}

$1 == "growth" {
	has_parley = 1
	if ($6 > rounds)
		rounds = $6
	growth[$2, $5, $6] = $7
	errors += $8
	if ($8 > 0)
		failed = failed sprintf("growth %s %s: %d errors\n", $2, $5, $8)
}

$1 == "search" {
	if ($6 > 0)
		searched[++n_searched] = $9
	errors += $8
}

# turns NAME MEASURE VALUE; those of a name come once a round.
$1 == "turns" {
	turns[$2, $3, ++n_turns[$2, $3]] = $4
	has_turns = 1
	if ($3 ~ /errors$/) {
		errors += $4
		if ($4 > 0)
			failed = failed sprintf("turns %s: %d %s\n", $2, $4, $3)
	}
}

$1 == "memory" { pss += $2; rss += $3; workers++ }

# The median of list[1..n], which it sorts.
function median(list, n,    i, j, v)
{
	if (n == 0)
		return 0
	for (i = 2; i <= n; i++) {
		v = list[i]
		for (j = i - 1; j >= 1 && list[j] > v; j--)
			list[j + 1] = list[j]
		list[j + 1] = v
	}
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function rate_of(what, mode, clients, program,    list, n, r)
{
	for (r = 1; r <= rounds; r++)
		if ((what, mode, clients, program, r) in rate)
			list[++n] = rate[what, mode, clients, program, r]
	return median(list, n)
}

# The median, over rounds and the given numbers of clients, of the ratio of two programs within a round.
function ratio(what, mode, clients, one, other,    all, n_all, i, r, list, n)
{
	n_all = split(clients, all, " ")
	for (i = 1; i <= n_all; i++)
		for (r = 1; r <= rounds; r++)
			if ((what, mode, all[i], other, r) in rate && (what, mode, all[i], one, r) in rate)
				list[++n] = rate[what, mode, all[i], one, r] / rate[what, mode, all[i], other, r]
	return median(list, n)
}

# What a request costs at a size, as a multiple of what it costs at 10; within a round.
function cost(what, size,    list, n, r)
{
	for (r = 1; r <= rounds; r++)
		if (growth[what, size, r] > 0)
			list[++n] = growth[what, "few", r] / growth[what, size, r]
	return median(list, n)
}

# What a request costs at a size, as a multiple of an append at 10.
function appends(what, size,    list, n, r)
{
	for (r = 1; r <= rounds; r++)
		if (growth[what, size, r] > 0)
			list[++n] = growth["append", "few", r] / growth[what, size, r]
	return median(list, n)
}

# Each at the number of clients that suits it best: what the machine can do with it.
function peak(what, mode, who,    c, clients, best)
{
	split("8 32 128", clients, " ")
	for (c = 1; c <= 3; c++)
		if (rate_of(what, mode, clients[c], who) > best)
			best = rate_of(what, mode, clients[c], who)
	return best
}
function peak_ratio(what, mode, a, b) { return peak(what, mode, b) > 0 ? peak(what, mode, a) / peak(what, mode, b) : 0 }

# The median of a measure over the rounds.
function turn(name, measure,    list, i)
{
	for (i = 1; i <= n_turns[name, measure]; i++)
		list[i] = turns[name, measure, i]
	return median(list, n_turns[name, measure])
}

# The median over the rounds of what parley adds, or of its part of what is had without it.
function turn_added(name, measure,    list, i, n)
{
	n = n_turns[name, measure]
	for (i = 1; i <= n; i++)
		list[i] = turns[name, measure, i] - turns[name, "direct_" measure, i]
	return median(list, n)
}
function turn_ratio(name, measure,    list, i, n)
{
	n = n_turns[name, measure]
	for (i = 1; i <= n; i++)
		list[i] = turns[name, measure, i] / turns[name, "direct_" measure, i]
	return median(list, n)
}

# Prints a line; whoever is beyond the limit fails the run. `sign`: 1 when more is worse, -1 when less is.
function limited(name, format, value, limit, sign)
{
	printf "%s " format "\n", name, value
	if (sign * value > sign * limit)
		missed = missed sprintf("missed %s: " format " where " format " is the limit\n", name, value, limit)
}

function print_turns(    i, n, all)
{
	n = split("pairs rate full many", all, " ")
	for (i = 1; i <= n; i++)
		if (!turn(all[i], "turns"))
			missed = missed "missed: there are no turns of the kind " all[i] "\n"
	limited("turn_first_token_added_ms", "%.2f", turn_added("pairs", "first_token_ms"), 2, 1)
	printf "turn_first_token_ms %.2f\n", turn("pairs", "first_token_ms")
	limited("turn_tokens_vs_direct", "%.3f", turn_ratio("rate", "tokens_per_s"), 0.95, -1)
	printf "turn_tokens_vs_direct_full_speed %.3f\n", turn_ratio("full", "tokens_per_s")
	printf "turn_tokens_per_s_full_speed %.0f\n", turn("full", "tokens_per_s")
	printf "turns_at_once %d\n", turn("many", "turns")
	printf "turns_first_token_ms %.1f\n", turn("many", "first_token_ms")
	printf "turns_first_token_p99_ms %.1f\n", turn("many", "first_token_p99_ms")
	printf "read_beside_turns_ms %.2f\n", turn("loaded", "read_ms")
	limited("read_beside_turns_vs_alone", "%.2f", turn("unloaded", "read_ms") > 0 ? turn("loaded", "read_ms") / turn("unloaded", "read_ms") : 99, 2, 1)
	limited("turn_kb", "%.0f", turn("many", "memory_kb"), 128, 1)
}

function cell(v) { return v > 0 ? sprintf("%.0f", v) : "-" }
function cell2(v) { return v > 0 ? sprintf("%.2f", v) : "-" }

function table(what,    m, c, modes, clients, line)
{
	split("plain kept closed", modes, " ")
	split("1 8 32 128", clients, " ")
	for (m = 1; m <= 3; m++)
		for (c = 1; c <= 4; c++) {
			if (!rate_of(what, modes[m], clients[c], "php"))
				continue
			line = sprintf("| %s | %s | %s |", what, title[modes[m]], clients[c])
			if (what == "read")
				line = line " " cell(rate_of(what, modes[m], clients[c], "null")) " | " cell(rate_of(what, modes[m], clients[c], "null_memcached")) " |"
			else
				line = line " | |"
			line = line " " cell(rate_of(what, modes[m], clients[c], "php")) " | " cell(rate_of(what, modes[m], clients[c], "parley")) " |"
			line = line " " (what == "read" ? cell2(ratio(what, modes[m], clients[c], "parley", "null_memcached")) : "") " |"
			print line " " cell2(ratio(what, modes[m], clients[c], "parley", "php")) " |"
		}
}

function print_rates()
{
	print "Requests a second, medians of " rounds " rounds; the last columns are parley's rate divided by the other's."
	print ""
	print "| what | kept connections | clients | null | null + memcached | PHP-FPM | parley | parley / null + memcached | parley / PHP-FPM |"
	print "|---|---|---|---|---|---|---|---|---|"
	table("read")
	table("append")
	print ""
}

function print_parley(    i, n_grown, grown, n_made, made)
{
	printf "read_vs_null_memcached %.2f\n", peak_ratio("read", "plain", "parley", "null_memcached")
	printf "read_vs_null_memcached_kept %.2f\n", peak_ratio("read", "kept", "parley", "null_memcached")
	printf "read_vs_php_fpm %.2f\n", peak_ratio("read", "plain", "parley", "php")
	printf "append_vs_php_fpm %.2f\n", peak_ratio("append", "plain", "parley", "php")
	printf "append_vs_php_fpm_kept %.2f\n", peak_ratio("append", "kept", "parley", "php")
	printf "append_vs_php_fpm_8_clients %.2f\n", ratio("append", "plain", "8", "parley", "php")
	printf "append_vs_php_fpm_32_clients %.2f\n", ratio("append", "plain", "32", "parley", "php")
	printf "append_vs_php_fpm_128_clients %.2f\n", ratio("append", "plain", "128", "parley", "php")
	n_grown = split("append read20 context list list_tag list_user", grown, " ")
	for (i = 1; i <= n_grown; i++) {
		printf "%s_1k_vs_10 %.2f\n", grown[i], cost(grown[i], "mid")
		printf "%s_100k_vs_10 %.2f\n", grown[i], cost(grown[i], "many")
	}
	n_made = split("branch clone", made, " ")
	for (i = 1; i <= n_made; i++) {
		printf "%s_10_vs_append %.2f\n", made[i], appends(made[i], "few")
		printf "%s_1k_vs_append %.2f\n", made[i], appends(made[i], "mid")
		printf "%s_100k_vs_append %.2f\n", made[i], appends(made[i], "many")
	}
	printf "search_5k_ms %.1f\n", median(searched, n_searched) / 1000
	printf "worker_mb %.1f\n", workers ? pss / workers / 1024 : 0
	printf "worker_rss_mb %.1f\n", workers ? rss / workers / 1024 : 0
}

END {
	title["plain"] = "client"
	title["kept"] = "client, FastCGI"
	title["closed"] = "none"
	if (has_rates)
		print_rates()
	if (has_parley)
		print_parley()
	if (has_turns)
		print_turns()
	printf "%s", missed
	if (errors)
		printf "failed_requests %d\n%s", errors, failed
	exit errors || missed != ""
}
