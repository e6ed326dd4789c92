"""Verifies a Sealwright audit log by audit-format.md, with nothing of Sealwright but the log and public keys.
python3 audit-verify.py [--key VKEY|FILE]... [--since-checkpoint FILE]... PATH...: ends with 0 intact, 1 tampered, 2 unreadable."""
import argparse, base64, decimal, functools, hashlib, json, os, re, sys
SEGMENT, LINE_MAX, NOTE_MAX, DEPTH_MAX, ZEROS = 65536, 16384, 65536, 256, '0' * 64
TYPES = dict(action=str, actor=dict, at=str, data=dict, decision=dict, id=str, of=str, outcome=str, phase=str, prev=str,
             request=dict, resource=dict, seq=int, stream=str, v=int)
OWN = re.compile(rb'\{"action":"audit\.(opened|closed|heartbeat|recovered|key\.introduced|key\.rotated)"')
class Flaw(ValueError): pass  # tampered with: what, and the sequence number that it is blamed on, where one is known
def hold(ok, what='', seq=None):
    if not ok: raise Flaw(what, seq)
def parsed(parse, text):  # None for what is none
    try: return parse(text)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError): return None
def sha(*parts): return hashlib.sha256(b''.join(parts)).digest()
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # Ed25519 (RFC 8032, 5.1), on affine points
D, I = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
def add(a, b):
    (x, y), (u, v), t = a, b, D * a[0] * a[1] * b[0] * b[1]
    return (x * v + y * u) * pow(1 + t, -1, P) % P, (y * v + x * u) * pow(1 - t, -1, P) % P
def times(n, p): return add(times(n >> 1, add(p, p)), p if n & 1 else (0, 1)) if n else (0, 1)
def point(raw):
    sign, y = divmod(int.from_bytes(raw, 'little'), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = [x for x in (pow(square, (P + 3) // 8, P) * i % P for i in (1, I)) if x * x % P == square]
    hold(x, 'a key is no point of the curve')
    return x[0] if x[0] & 1 == sign else P - x[0], y
BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, 'little'))
def is_signed(key, message, signature):
    h, s, (x, y) = hashlib.sha512(signature[:32] + key + message).digest(), int.from_bytes(signature[32:], 'little'), point(key)
    x, y = add(times(s % L, BASE), times(int.from_bytes(h, 'little') % L, (P - x, y)))
    return len(signature) == 64 and s < L and (y | (x & 1) << 255).to_bytes(32, 'little') == signature[:32]
def canonical(v, depth=0):  # RFC 8785
    if v is None or isinstance(v, (bool, str)): return json.dumps(v, ensure_ascii=False)
    if isinstance(v, (int, float)):  # as ECMAScript writes a double
        return format(d, 'f' if -7 < d.adjusted() < 21 else 'e') if (d := decimal.Decimal(repr(float(v))).normalize()) else '0'
    hold(depth < DEPTH_MAX)
    if isinstance(v, list): return '[' + ','.join(canonical(item, depth + 1) for item in v) + ']'
    return '{' + ','.join(canonical(n) + ':' + canonical(v[n], depth + 1) for n in sorted(v, key=lambda n: n.encode('utf-16-be'))) + '}'
def event(line):  # of bytes without their newline
    found = json.loads(line.decode(), parse_constant=int) if len(line) < LINE_MAX else None
    hold(canonical(found).encode() == line and TYPES.keys() - {'data', 'of', 'request'} <= found.keys() <= TYPES.keys())
    hold(all(type(found[name]) is TYPES[name] for name in found) and found['v'] in (1, 2) and 1 <= found['seq'] < 2**53)
    return found if re.fullmatch('[0-9a-f]{64}', found['prev']) else None
def append(peaks, node, height=0):  # a Merkle tree (RFC 6962, 2.1) is (height, root) of its complete subtrees
    while peaks and peaks[-1][0] == height: node, height = sha(b'\1', peaks.pop()[1], node), height + 1
    peaks.append((height, node))
def root(peaks): return functools.reduce(lambda node, peak: sha(b'\1', peak[1], node), peaks[-2::-1], peaks[-1][1] if peaks else sha())
def exact(text): return raw if (raw := base64.b64decode(text, validate=True)) and base64.b64encode(raw).decode() == text else hold(False)
def vkey(text):  # of C2SP, as checkpoints are
    name, key_id, raw = re.fullmatch(r'([^\s+]{1,255})\+([0-9a-f]{8})\+(\S{44})', text).groups()
    hold(exact(raw)[0] == 1 and len(exact(raw)) == 33 and sha(name.encode(), b'\n', exact(raw))[:4].hex() == key_id)
    return dict(name=name, id=bytes.fromhex(key_id), raw=exact(raw)[1:], text=text)
def checkpoint(note):
    text, origin, size, node, more, ends = re.fullmatch(r'(([^\n]+)\n(0|[1-9][0-9]{0,15})\n(\S{44})\n((?:[^\n]+\n)*))\n((?:— \S+ \S+\n){1,16})', note).groups()
    signed = [(line.split(' ')[1], exact(line.split(' ')[2])) for line in ends[:-1].split('\n')]
    hold(len(note) <= NOTE_MAX and len(exact(node)) == 32 and int(size) < 2**53 and all(len(raw) > 4 for _, raw in signed))
    return dict(origin=origin, size=int(size), root=exact(node), more=more, text=text.encode(), signed=signed)
def tombstone(note):
    found = checkpoint(note)
    before, key, nodes = re.fullmatch(r'dropped \S+\nbefore ([0-9a-f]{64})\nkey (\S+)\n((?:peak \S+\n)*)', found['more']).groups()
    peaks = list(zip((bit for bit in range(53)[::-1] if found['size'] >> bit & 1), map(exact, nodes.split()[1::2])))
    hold(len(peaks) == bin(found['size']).count('1') == nodes.count('\n') and {len(node) for _, node in peaks} == {32})
    hold(found['size'] % SEGMENT == 0 and root(peaks) == found['root'])
    return dict(found, before=before, key=vkey(key), peaks=peaks)
def is_signed_by(note, keys):
    return {is_signed(k['raw'], note['text'], raw[4:]) for n, raw in note['signed'] for k in keys if (k['name'], k['id']) == (n, raw[:4])} == {True}
def lines(path):  # each with its newline; the last may be without
    if not os.path.isfile(path): raise OSError('this is not a regular file')
    with open(path, 'rb') as file: yield from iter(lambda: file.readline(LINE_MAX + 1), b'')
def text_of(path): return open(path, 'rb').read(NOTE_MAX + 1).decode(errors='replace')
def verify(path, name, segments, is_folder, trusted, others):  # others: kept checkpoints, and what other streams say
    note, dropped = (text_of(f'{path}/{file}') if is_folder and file in os.listdir(path) else None for file in ('checkpoint', 'dropped'))
    signed, tomb, (link, torn, after, unread, notes) = parsed(checkpoint, note), parsed(tombstone, dropped), ({1: ZEROS, 2: ZEROS}, 0, None, None, [])
    signed, alone, version = None if signed and signed['more'] else signed, not is_folder and name, 1  # with more lines it is a tombstone
    start, peaks, keys = (tomb['size'], tomb['peaks'], [(0, tomb['key'])]) if tomb else (0, [], [])
    segments = [(first, file) for first, file in segments if not 1 <= first <= start or first % SEGMENT != 1]  # what a crash left of those
    roots, seq = {**{one['size']: None for one in [*others, signed] if one}, start: root(peaks)}, start
    for index, (first, file) in enumerate(segments):
        due = start + index * SEGMENT + 1 if is_folder else first
        hold(first == due, 'segments are missing, or stand where events were dropped', min(first, due))
        hold(not torn, 'bytes that are no event stand before the segment', first)
        hold(seq == first - 1 or not is_folder or unread, 'events are missing at the end of the segment before', seq + 1)
        seq, suspect = seq if is_folder else first - 1, None
        try:
            for line in lines(file) if not unread else ():
                due, body = seq + 1, line[:-1] if line[-1:] == b'\n' else line
                if body is line and len(line) < LINE_MAX: torn = len(line); break
                found = parsed(event, body)
                hold(found, 'the line is no event in canonical JSON', due - bool(suspect))
                hold(not suspect, 'the event was changed', due - (found['prev'] == (suspect or {}).get(found['v'])))
                continues, name = found['prev'] == link[found['v']], name or found['stream']
                if due == first > 1 and after is None: continues, after = True, found['prev']
                version = found['v'] if due == 1 else version
                placed = found['stream'] == name and found['seq'] == due and (continues or due > first)
                hold(placed, 'events are missing, repeated, moved, foreign, or do not continue the segment before', due)
                hold(due < first + SEGMENT, 'the segment holds more events than belong there', first)
                new = {1: sha(body).hex() if found['v'] == 1 else '', 2: sha(b'\0', body).hex()}
                if not continues: suspect = new; continue
                if OWN.match(line) and 'data' in found: notes.append((due, found['action'], found['data']))
                seq, link = due, new
                append(peaks, bytes.fromhex(link[2]))
                if seq in roots: roots[seq] = root(peaks)
        except OSError as error: unread = error
        hold(not suspect, 'the event was changed', seq)
    for at, action, data in notes:
        origin, text, old = data.get('origin'), data.get('key'), keys[-1][1] if keys else None
        if not isinstance(origin, str) or not isinstance(text, str): continue
        key, signature = parsed(vkey, text), parsed(exact, data.get('signature'))
        hold(key and key['name'] == origin and (old is None) == (action != 'audit.key.rotated'), 'no key is named so', at)
        hold(not old or signature and old['name'] == origin and is_signed(
            old['raw'], f'sealwright audit key rotation\n{origin}\n{text}\n'.encode(), signature), 'the key before signed no other', at)
        keys.append((at, key))
    hold(dropped is None or tomb and is_signed_by(tomb, [key for _, key in keys]), 'the tombstone is not signed by the log')
    hold(after is None or not tomb or after == tomb['before'], 'what is left does not continue what was dropped', start + 1)
    origin = keys[0][1]['name'] if keys else None
    mine = [one for one in others if origin and one.get('origin') == origin and one.get('by') != path]
    hold(not alone or version == 1 and not keys, 'the stream was signed, and lies here as a single file')
    for one in ([signed] if is_folder and (segments or note is not None) else []) + mine:
        if one and one['size'] < start and one is not signed:  # of events that are gone: of this log, if by a key that is known
            if 'by' in one or trusted is not None or is_signed_by(one, [key for _, key in keys]): continue
        hold(one and one['origin'] == origin, 'there is no checkpoint of this log by a key that it names')
        hold('by' in one or is_signed_by(one, [key for since, key in keys if since <= one['size']][-1:]), 'it is not signed by the key of the log')
        hold(one['size'] <= seq, f"events are missing: there were {one['size']}", seq + 1)
        hold(roots[one['size']] == one['root'], f"the first {one['size']} events are not those that were signed or recorded")
    since = next((since for since, key in keys if key['text'] in (trusted or ())), None)  # that it is named says nothing: it is public
    hold(trusted is None or is_folder and since is not None and signed['size'] >= since, 'no key that was given signs the log')
    if unread or seq == start: raise unread or OSError('no event is here')
    return origin
def find(path):  # streams, as the arguments of verify
    def own(folder): return [(int(n[:16]), f'{folder}/{n}') for n in sorted(os.listdir(folder)) if re.fullmatch(r'[0-9]{16}\.jsonl', n)]
    name = os.path.basename(os.path.abspath(path))
    if not os.path.isdir(path): return [(path, None, [(int(name[:16]) if re.fullmatch(r'[0-9]{16}\.jsonl', name) else 1, path)], False)]
    def holds(folder): return os.path.isdir(folder) and (own(folder) or 'checkpoint' in os.listdir(folder))
    here, names = [(path, name, own(path), True)] if holds(path) else [], [(f'{path}/{n}', n) for n in sorted(os.listdir(path))]
    return here + [(f, n[:-6], [(1, f)], False) if not here and n.endswith('.jsonl') else (f, n, own(f), True) for f, n in names
                   if holds(f) or not here and (os.path.isdir(f) or n.endswith('.jsonl'))] or [(path, None, [], True)]
def claims(path, _, segments, __):  # what a stream recorded of others
    notes = (parsed(json.loads, line) for _, file in segments if os.path.isfile(file) and os.access(file, os.R_OK) for line in lines(file) if OWN.match(line))
    found = [c for note in notes for c in parsed(lambda n: list(n['data']['checkpoints']), note) or [] if type(c) is dict]
    return [dict(c, root=parsed(exact, c['root']), by=path) for c in found if type(c.get('size')) is int and isinstance(c.get('root'), str)]
if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ('--key', '--since-checkpoint'): parser.add_argument(option, action='append', default=[])
    parser.add_argument('path', nargs='+')
    asked, results = parser.parse_args(), []
    try:
        keys = {vkey(text)['text'] for given in asked.key for text in (text_of(given).split() if os.path.isfile(given) else [given])}
        kept = [checkpoint(note) for file in asked.since_checkpoint for note in re.findall(r'(?:[^\n]+\n)+\n(?:— [^\n]+\n)+|[^\n]', text_of(file)) or ['']]
        sources = [source for path in asked.path for source in find(path)]
    except (OSError, ValueError, AttributeError) as error: parser.error(f'a key, a checkpoint or a folder cannot be read: {error}')
    others = [*kept, *(claim for source in sources for claim in claims(*source))]
    for source in sources:
        try: results.append(dict(path=source[0], status='intact', origin=verify(*source, keys if asked.key else None, others)))
        except Flaw as flaw: results.append(dict(path=source[0], status='tampered', what=flaw.args[0], seq=flaw.args[1]))
        except OSError as error: results.append(dict(path=source[0], status='unreadable', what=str(error)))
    held = {one['origin'] for one in others if one.get('by') not in asked.path and isinstance(one.get('origin'), str)}  # of a folder of all logs
    results += [dict(path=origin, status='tampered', what='this log was recorded, or a checkpoint kept of it, and it is not here')
                for origin in held - {result.get('origin') for result in results}]
    for result in results: print(json.dumps(result, ensure_ascii=True))
    sys.exit(next(code for status, code in (('tampered', 1), ('unreadable', 2), ('intact', 0)) if status in [r['status'] for r in results]))
