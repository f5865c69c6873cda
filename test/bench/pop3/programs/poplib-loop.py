"""Python's own POP3 library: one command after the other."""

import json
import poplib
import ssl
import sys
import threading

job = json.loads(sys.argv[1])


def log_in():
    if job["caPath"] is None:
        client = poplib.POP3(job["host"], job["port"])
    else:
        context = ssl.create_default_context(cafile=job["caPath"])
        client = poplib.POP3_SSL(job["host"], job["port"], context=context)
    client.user(job["username"])
    client.pass_(job["password"])
    return client


def poll_in_turn(first):
    for _ in range(first, job["polls"], job["pollsAtOnce"]):
        client = log_in()
        client.stat()
        client.quit()


if job["polls"] > 0:
    threads = [threading.Thread(target=poll_in_turn, args=(n,)) for n in range(job["pollsAtOnce"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"messages": job["polls"], "octets": 0}))
else:
    client = log_in()
    octets = 0
    for number in range(1, job["messages"] + 1):
        _, lines, _ = client.retr(number)
        octets += sum(len(line) + 2 for line in lines)
    client.quit()
    print(json.dumps({"messages": job["messages"], "octets": octets}))
