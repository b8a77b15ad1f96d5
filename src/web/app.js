// SPDX-License-Identifier: Apache-2.0
// The page of all mounts: asks the daemon for their status and keeps the page up to date with it.
// Elements are changed in place, never made anew, so that focus, selection and open parts stay.
'use strict';

const busyMs = 500; // between two looks while something is on its way
const quietMs = 20000; // the longest a look at quiet mounts waits for a change
const downMs = 2000; // until a daemon that does not answer is asked again

const $ = (selector, root = document) => root.querySelector(selector);

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let u = 0;
  for (; n >= 1000 && u + 1 < units.length; u++) n /= 1000;
  return `${n.toFixed(u ? 1 : 0)} ${units[u]}`;
}

function duration(ms) {
  if (ms === null || ms === undefined) return 'not yet';
  return ms < 10000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// The token comes by hand, or once behind the # of the address, which no server ever sees.
function takeToken() {
  if (location.hash.length > 1) {
    sessionStorage.setItem('token', location.hash.slice(1));
    history.replaceState(null, '', location.pathname);
  }
}

async function ask(path) {
  const token = sessionStorage.getItem('token');
  const reply = await fetch(path, {headers: token ? {Authorization: `Bearer ${token}`} : {}});
  const body = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(body.error), {status: reply.status});
  return body;
}

// Makes the children of list those of items: one per key, in order, new ones from make(). What goes
// is removed first, so that nothing that stays is moved: a moved element loses the focus.
function reconcile(list, items, key, make, update) {
  const keys = new Set(items.map((item) => String(key(item))));
  const old = new Map();
  for (const child of [...list.children]) {
    if (keys.has(child.dataset.key)) old.set(child.dataset.key, child);
    else child.remove();
  }
  let at = list.firstElementChild;
  for (const item of items) {
    const k = String(key(item));
    const child = old.get(k) || make(item);
    child.dataset.key = k;
    if (child === at) at = at.nextElementSibling;
    else list.insertBefore(child, at);
    update(child, item);
  }
}

function facts(list, pairs) {
  const items = pairs.flatMap(([name, value]) => [[name, 'dt', name], [name, 'dd', value]]);
  reconcile(list, items, ([name, tag]) => `${tag} ${name}`, ([, tag]) => document.createElement(tag),
    (child, [, , text]) => setText(child, text));
}

function setProgress(row, label, local, total, phase) {
  const bar = $('progress', row);
  bar.value = total ? Math.min(local / total, 1) : phase === 'failed' ? 0 : 1;
  bar.setAttribute('aria-label', label);
  setText($('.amount', row), `${bytes(local)} of ${bytes(total)}`);
}

function updateLayer(row, layer, index) {
  setText($('.digest', row), layer.digest.slice(0, 19));
  $('.digest', row).title = layer.digest;
  setProgress(row, `layer ${index + 1}`, layer.blob_bytes_local, layer.blob_bytes, layer.phase);
  row.className = layer.phase;
}

function tableRow() {
  const row = document.createElement('tr');
  row.append(...['td', 'td', 'td'].map((tag) => document.createElement(tag)));
  return row;
}

function updateBlocked(mount, rows) {
  const ranked = rows.map((file, rank) => ({file, rank}));
  reconcile($('tbody', mount), ranked, (r) => r.rank, tableRow, (row, {file}) => {
    setText(row.children[0], file.path);
    setText(row.children[1], duration(file.ms));
    setText(row.children[2], String(file.waits));
  });
}

function updateMount(item, mount) {
  setText($('.id', item), mount.id);
  setText($('.phase', item), mount.phase);
  $('.phase', item).className = `phase ${mount.phase}`;
  setText($('.image', item), mount.image);
  setText($('.at', item), mount.target ? `at ${mount.target}` : '(pull)');
  $('.error', item).hidden = !mount.error;
  setText($('.error', item), mount.error || '');
  setProgress($('.total', item), `${mount.id}: what is here`, mount.blob_bytes_local, mount.blob_bytes_total,
    mount.phase);
  facts($('.facts', item), [
    ['mounted after', duration(mount.mounted_ms)],
    ['all here after', duration(mount.local_ms)],
    ['native after', duration(mount.native_ms)],
    ['files here', `${mount.files_local} of ${mount.files_total}`],
    ['fetched on demand', `${mount.demand_fetches} files, ${bytes(mount.demand_bytes)}`],
    ['somebody waited', duration(mount.blocked_ms)],
    ['waiting now', String(mount.waiters)],
  ]);
  const layers = mount.each_layer.map((layer, index) => ({layer, index}));
  setText($('.layers summary', item), `Layers (${layers.length})`);
  reconcile($('.layers ol', item), layers, (l) => l.index, () => $('#layer').content.cloneNode(true).firstElementChild,
    (row, l) => updateLayer(row, l.layer, l.index));
  $('.blocked', item).hidden = mount.blocked.length === 0;
  updateBlocked(item, mount.blocked);
  const cost = mount.meter.demand;
  facts($('.meter .facts', item), [
    ['weight', String(mount.meter.weight)],
    ['requests', String(cost.requests)],
    ['fetched', bytes(cost.fetched_bytes)],
    ['decoded', bytes(cost.decoded_bytes)],
    ['written', bytes(cost.written_bytes)],
    ['in the background', bytes(mount.meter.background.fetched_bytes)],
    ['waited for a turn', duration(cost.queue_ms)],
    ['for the network', duration(cost.network_ms)],
    ['for decoders', duration(cost.decode_ms)],
    ['for the disk', duration(cost.disk_ms)],
  ]);
  facts($('.gate .facts', item), Object.entries(mount.gate).map(([name, n]) => [name.replace(/_/g, ' '), String(n)]));
}

function newMount() {
  return $('#mount').content.cloneNode(true).firstElementChild;
}

function show(daemon, mounts) {
  setText($('#daemon'), `version ${daemon.version}, pid ${daemon.pid}, state in ${daemon.root}; ` +
    `${daemon.registry.requests} requests and ${bytes(daemon.registry.bytes)} from registries`);
  $('#none').hidden = mounts.length !== 0;
  reconcile($('#mounts'), mounts, (m) => m.id, newMount, updateMount);
  const busy = mounts.filter((m) => m.phase !== 'native' && m.phase !== 'failed').length;
  setText($('#state'), busy ? `${busy} of ${mounts.length} on the way` : `${mounts.length} mounts, all settled`);
  return busy !== 0;
}

function fail(error) {
  setText($('#state'), error.status ? error.message : 'the daemon does not answer');
  $('#login').hidden = error.status !== 401;
  if (error.status === 401 && document.activeElement === document.body) $('#token').focus();
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function run() {
  for (;;) {
    try {
      const [daemon, list] = await Promise.all([ask('/v1/daemon'), ask('/v1/mounts?detail=1')]);
      $('#login').hidden = true;
      if (show(daemon, list.mounts)) await pause(busyMs);
      else await ask(`/v1/changes?timeout_ms=${quietMs}`);
    } catch (error) {
      fail(error);
      if (error.status === 401) return;
      await pause(downMs);
    }
  }
}

$('#login').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem('token', $('#token').value.trim());
  $('#token').value = '';
  run();
});
takeToken();
run();
