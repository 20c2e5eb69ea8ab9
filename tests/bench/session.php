<?php
// SPDX-License-Identifier: MIT
// session.php: the idealised PHP session script: a read is one memcached get, an append one durable INSERT and one update of the
// cached tail. It checks nothing: no credential, no input, no race between two appends. What it lacks makes it faster.
$cache = new Memcached('bench');
if (!$cache->getServerList()) {
	$cache->setOption(Memcached::OPT_COMPRESSION, false);
	$cache->addServer($_SERVER['BENCH_MEMCACHED'], 0);
}
$id = (int)$_SERVER['QUERY_STRING'];
$key = 'php-session-' . $id;
header('Content-Type: application/json');

if ($_SERVER['REQUEST_METHOD'] === 'GET') {
	echo $cache->get($key);
	return;
}

$message = json_decode(file_get_contents('php://input'), true);
$database = mysqli_connect('p:localhost', 'root', '', 'php', 0, $_SERVER['BENCH_MARIADB']);
$database->query("INSERT INTO message (conversation, role, content, created_at) VALUES ($id, '"
	. $database->real_escape_string($message['role']) . "', '" . $database->real_escape_string($message['content']) . "', NOW(3))");
$message['seq'] = $database->insert_id;
$message['created_at'] = gmdate('Y-m-d\TH:i:s\Z');
$tail = $cache->get($key);
$session = $tail === false ? ['id' => $id, 'messages' => []] : json_decode($tail, true);
$session['messages'][] = $message;
$session['messages'] = array_slice($session['messages'], -20);
$cache->set($key, json_encode($session), 30);
http_response_code(201);
echo json_encode($message);
