# SPDX-License-Identifier: Apache-2.0
"""The page of all mounts, in a real browser.
Usage: webpage.py LOCUM URL TOKEN IMAGE MOUNT-ID FILE SCREENSHOT
One line per check: "ok TEXT" or "not ok TEXT: got". IMAGE is pulled when the page has been looked at while lazy."""
import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER, TAB, SPACE = "\ue007", "\ue004", " "


class Browser:
    """WebDriver (W3C), as much of it as is needed here."""

    def __init__(self, profile):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.driver.stdout:
            if "was started successfully on port" in line:
                self.base = f"http://127.0.0.1:{int(line.rsplit(None, 1)[1].rstrip('.'))}"
                break
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1100,1400",
                "--host-resolver-rules=MAP evil.example 127.0.0.1", f"--user-data-dir={profile}"]
        caps = {"browserName": "chrome", "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": caps}}, bare=True)["sessionId"]

    def call(self, method, path, body=None, bare=False):
        url = self.base + (path if bare else f"/session/{self.session}{path}")
        data = None if method != "POST" else json.dumps(body or {}).encode()
        rq = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(rq, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as e:
            raise RuntimeError(json.load(e)["value"]["message"]) from e

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def js(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def text(self, css):
        return self.js("const e = document.querySelector(arguments[0]); return e && !e.closest('[hidden]') ? e.textContent : null", css)

    def computed(self, css):
        e = self.find(css)
        return self.call("GET", f"/element/{e}/computedrole"), self.call("GET", f"/element/{e}/computedlabel")

    def keys(self, *keys):
        actions = [a for k in keys for a in ({"type": "keyDown", "value": k}, {"type": "keyUp", "value": k})]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def until(self, what, seconds=20):
        end = time.monotonic() + seconds
        while not what() and time.monotonic() < end:
            time.sleep(0.05)
        return what()

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()


def check(text, got, want=True):
    print(f"ok {text}" if got == want else f"not ok {text}: {got!r}, not {want!r}", flush=True)


def login(b, url, token):
    b.go(url)
    check("without a token it asks for one", b.until(lambda: b.text("#login label") is not None))
    check("and the cursor is there", b.js("return document.activeElement.id"), "token")
    check("the field has a name", b.computed("#token")[1][:5], "Token")
    check("nothing is shown yet", b.text("#mounts .id"), None)
    b.keys(*token[:-1], "x", ENTER)
    check("a wrong token is refused in words", b.until(lambda: "Bearer" in (b.text("#state") or "")))
    b.js("document.querySelector('#token').focus()")
    b.keys(*token, ENTER)
    check("the right one, by keyboard, shows the mounts", b.until(lambda: b.text("#mounts .id")) is not None)
    check("and the form goes", b.text("#login label"), None)
    b.js("sessionStorage.clear()")


def while_lazy(b, url, token, image, mount, path):
    b.go("about:blank")
    b.go(f"{url}#{token}")
    check("a token behind # logs in", b.until(lambda: b.text("#mounts .id")), mount)
    check("and is gone from the address", b.js("return location.href"), url)
    check("the phase", b.text("#mounts .phase"), "lazy")
    check("the image", b.text("#mounts .image"), image)
    check("the file that was waited for, as text", path in b.js(
        "return [...document.querySelectorAll('.blocked tbody td:first-child')].map(e => e.textContent)"))
    check("and for how long", b.js("return document.querySelector('.blocked td:nth-child(2)').textContent.trim().endsWith('s')"))
    check("what it cost", b.js("return [...document.querySelectorAll('.meter dt')].find(e => e.textContent === 'requests').nextElementSibling.textContent"), "1")
    check("not all is here", b.js("return document.querySelector('.total progress').value < 1"))
    role, label = b.computed("#mounts .total progress")
    check("a progress bar for those who listen", (role, label), ("progressbar", f"{mount}: what is here"))
    check("the list has a name", b.computed("#mounts"), ("list", "Mounts"))
    check("changes are announced", b.computed("#state")[0], "status")
    check("no style or script is inline", b.js(
        "return document.querySelectorAll('[style], style, script:not([src])').length + "
        "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on')).length"), 0)


def keyboard(b):
    for _ in range(10):
        b.keys(TAB)
        if b.js("return document.activeElement.textContent.startsWith('Layers')"):
            break
    b.keys(ENTER)
    check("the keyboard opens the layers", b.js("return document.querySelector('.layers').open"))
    check("one bar for each layer", b.js("return document.querySelectorAll('.layers progress').length"),
          b.js("return Number(document.activeElement.textContent.match(/\\d+/)[0])"))


def until_native(b, locum, image):
    subprocess.run([locum, "pull", image], check=True, stdout=subprocess.DEVNULL)
    check("it becomes native by itself", b.until(lambda: b.text("#mounts .phase") == "native"))
    check("all bars are full", b.until(lambda: b.js("return [...document.querySelectorAll('progress')].every(p => p.value === 1)")))
    check("what was open stays open", b.js("return document.querySelector('.layers').open"))
    check("and the focus where it was", b.js("return document.activeElement.textContent.startsWith('Layers')"))
    check("what was waited for stays known", b.js("return document.querySelectorAll('.blocked tbody tr').length > 0"))
    check("all settled", b.text("#state"), "1 mounts, all settled")


def other_sites(b, url, token):
    port = url.rstrip("/").rsplit(":", 1)[1]
    b.go(f"http://evil.example:{port}/")
    check("a name that leads here shows nothing", b.js("return document.body.textContent.includes('rebinding')"))
    b.go("data:text/html,<p>other site")
    got = b.js("""const [url, token] = arguments; const out = [];
        for (const init of [{}, {headers: {Authorization: 'Bearer ' + token}}, {method: 'POST', mode: 'no-cors', body: '{}'}])
          try { const r = await fetch(url, init); out.push(r.type === 'opaque' ? 'opaque' : r.status); } catch (e) { out.push('refused'); }
        return out.join()""", url + "v1/mounts", token)
    # whether a request that may be sent blindly is sent at all is the browser's affair
    check("another site's page reads nothing", set(got.split(",")) <= {"refused", "opaque"})


def main():
    locum, url, token, image, mount, path, shot = sys.argv[1:]
    b = Browser(shot + ".profile")
    try:
        login(b, url, token)
        while_lazy(b, url, token, image, mount, path)
        keyboard(b)
        b.js("for (const d of document.querySelectorAll('details')) d.open = true")
        with open(shot, "wb") as f:
            f.write(base64.b64decode(b.call("GET", "/screenshot")))
        check("a screenshot", os.path.getsize(shot) > 10000)
        until_native(b, locum, image)
        said = [e["message"] for e in b.call("POST", "/se/log", {"type": "browser"}) if "401" not in e["message"]]
        check("the console is silent", said, [])
        other_sites(b, url, token)
    finally:
        b.close()


main()
