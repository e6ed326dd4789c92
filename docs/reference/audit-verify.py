"""Verifies a Sealwright audit log by audit-format.md, with nothing of it but the log and public keys. Ends with 0 intact, 1 tampered, 2 unreadable."""
import argparse, base64, decimal, functools, hashlib, json, os, re, sys
SEGMENT, LINE_MAX, NOTE_MAX, DEPTH_MAX, ZERO = 65536, 16384, 65536, 256, {1: '0' * 64, 2: '0' * 64}
TYPES = dict(action=str, actor=dict, at=str, data=dict, decision=dict, id=str, of=str, outcome=str, phase=str, prev=str,
             request=dict, resource=dict, seq=int, stream=str, v=int)
OWN = re.compile(rb'\{"action":"audit\.(opened|closed|heartbeat|recovered|key\.introduced|key\.rotated)"')
class Flaw(ValueError): pass  # tampered with: what, and the sequence number that it is blamed on, where one is known
def hold(ok, what='', seq=None):
    if not ok: raise Flaw(what, seq)
def parsed(parse, text):  # None for what is none
    try: return parse(text)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, OSError): return None
def sha(*parts): return hashlib.sha256(b''.join(parts)).digest()
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # Ed25519 (RFC 8032, 5.1), on affine points
D, I = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
def add(a, b):
    (x, y), (u, v), t = a, b, D * a[0] * a[1] * b[0] * b[1]
    return (x * v + y * u) * pow(1 + t, -1, P) % P, (y * v + x * u) * pow(1 - t, -1, P) % P
def times(n, p): return add(times(n >> 1, add(p, p)), p if n & 1 else (0, 1)) if n else (0, 1)
def point(raw):  # fails where it is none
    sign, y = divmod(int.from_bytes(raw, 'little'), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = [x for x in (pow(square, (P + 3) // 8, P) * i % P for i in (1, I)) if x * x % P == square]
    return x[0] if x[0] & 1 == sign else P - x[0], y
BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, 'little'))
def is_signed(key, message, signature):
    h, s, (x, y) = hashlib.sha512(signature[:32] + key['raw'] + message).digest(), int.from_bytes(signature[32:], 'little'), key['point']
    x, y = add(times(s % L, BASE), times(int.from_bytes(h, 'little') % L, (P - x, y)))
    return len(signature) == 64 and s < L and (y | (x & 1) << 255).to_bytes(32, 'little') == signature[:32]
def canonical(v, depth=0):  # RFC 8785
    if v is None or isinstance(v, (bool, str)): return json.dumps(v, ensure_ascii=False)
    if isinstance(v, (int, float)): return format(d, 'f' if -7 < d.adjusted() < 21 else 'e') if (d := decimal.Decimal(repr(float(v))).normalize()) else '0'
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
    return dict(name=name, by=(name, bytes.fromhex(key_id)), raw=exact(raw)[1:], text=text, point=point(exact(raw)[1:]))
def checkpoint(note):
    text, origin, size, node, more, ends = re.fullmatch(r'(([^\n]+)\n(0|[1-9][0-9]{0,15})\n(\S{44})\n((?:[^\n]+\n)*))\n((?:— \S+ \S+\n){1,16})', note).groups()
    signed = [((name, exact(raw)[:4]), exact(raw)[4:]) for _, name, raw in (line.split(' ') for line in ends[:-1].split('\n'))]
    hold(len(note) <= NOTE_MAX and len(exact(node)) == 32 and int(size) < 2**53 and all(raw for _, raw in signed))
    return dict(origin=origin, size=int(size), root=exact(node), more=more, text=text.encode(), signed=signed)
def tombstone(note):
    found = checkpoint(note)
    before, key, nodes = re.fullmatch(r'dropped \S+\nbefore ([0-9a-f]{64})\nkey (\S+)\n((?:peak \S+\n)*)', found['more']).groups()
    peaks = list(zip((bit for bit in range(53)[::-1] if found['size'] >> bit & 1), map(exact, nodes.split()[1::2]), strict=True))
    hold({len(node) for _, node in peaks} == {32} and found['size'] % SEGMENT == 0 and root(peaks) == found['root'])
    return dict(found, before=before, key=vkey(key), peaks=peaks)
def is_signed_by(note, keys): return {is_signed(key, note['text'], raw) for by, raw in note['signed'] for key in keys if key['by'] == by} == {True}
def lines(path):  # each with its newline; the last may be without
    if not os.path.isfile(path): raise OSError('this is not a regular file')
    with open(path, 'rb') as file: yield from iter(lambda: file.readline(LINE_MAX + 1), b'')
def text_of(path): return open(path, 'rb').read(NOTE_MAX + 1).decode(errors='replace')
def keys_given(given): return {vkey(text)['text'] for one in given for text in (text_of(one).split() if os.path.isfile(one) else [one])}
def checkpoints_kept(files): return [checkpoint(note) for file in files for note in re.findall(r'(?:[^\n]+\n)+\n(?:— [^\n]+\n)+|[^\n]', text_of(file)) or ['']]
def verify(path, name, segments, is_folder, trusted, others, named):  # others: kept checkpoints, what streams say; named: their keys
    note, dropped = (text_of(f'{path}/{file}') if is_folder and file in os.listdir(path) else None for file in ('checkpoint', 'dropped'))
    signed, tomb, link, torn, notes, (after, unread, suspect, version) = parsed(checkpoint, note), parsed(tombstone, dropped), ZERO, 0, [], [None] * 4
    start, peaks, keys = (tomb['size'], tomb['peaks'], [(0, tomb['key'])]) if tomb else (0 if is_folder else segments[0][0] - 1, [], [])
    segments = [(first, file) for first, file in segments if not 1 <= first <= start or first % SEGMENT != 1]  # what a crash left of those
    roots, seq, alone = {**{one['size']: None for one in [*others, signed] if one}, start: root(peaks)}, start, not is_folder and name
    for due, (first, file) in zip(range(start + 1, 2**53, SEGMENT), segments):
        hold(first == due and not torn and (unread or seq == first - 1), 'the segment does not follow', seq + 1 if first == due and not torn else min(first, due))
        try:
            for line in lines(file) if not unread else ():
                due, body = seq + 1, line[:-1] if line[-1:] == b'\n' else line
                if body is line and len(line) < LINE_MAX: torn = len(line); break
                found = parsed(event, body)
                changed = suspect and (not found or found['prev'] == suspect[found['v']])  # the one before the one that does not continue it
                hold(found and not suspect, 'the event was changed, or is none in canonical JSON', due - bool(changed))
                continues, name, version = found['prev'] == link[found['v']], name or found['stream'], version or found['v']
                if due == first > 1 and after is None: continues, after = True, found['prev']
                hold(found['stream'] == name and found['seq'] == due and (continues or due > first), 'another event belongs here', due)
                hold(due < first + SEGMENT, 'the segment holds more events than belong there', first)
                new = {1: sha(body).hex() if found['v'] == 1 else '', 2: sha(b'\0', body).hex()}
                if not continues: suspect = new; continue
                if OWN.match(line) and {'origin', 'key'} <= found.get('data', {}).keys(): notes.append(found)
                seq, link = due, new
                append(peaks, bytes.fromhex(link[2]))
                if seq in roots: roots[seq] = root(peaks)
        except OSError as error: unread = error
        hold(not suspect, 'the event was changed', seq)
    for at, action, data in ((note['seq'], note['action'], note['data']) for note in notes):
        origin, text, key, old = data['origin'], data['key'], parsed(vkey, data['key']), keys[-1][1] if keys else None
        is_next = old and old['name'] == origin and is_signed(old, f'sealwright audit key rotation\n{origin}\n{text}\n'.encode(), parsed(exact, data.get('signature')) or b'')
        hold(key and key['name'] == origin and (is_next if action == 'audit.key.rotated' else not old), 'no key is named so', at)
        keys.append((at, key))
    known, origin = [key for _, key in keys], keys[0][1]['name'] if keys else None
    recorded = {one['origin'] for one in others if one.get('by') == path and signed and one['at'] <= signed['size']}
    signers = known + [key for key in named if key['name'] in recorded]  # a stream is dropped by its writer, or by one that recorded it
    hold(dropped is None or tomb and tomb['origin'] == origin and after in (None, tomb['before']) and is_signed_by(tomb, signers), 'the tombstone is false')
    hold(not alone or version == 1 and not keys, 'the stream was signed, and lies here as a single file')
    mine = [one for one in others if origin and one['origin'] == origin and one.get('by') != path]
    for one in ([signed] if is_folder and (segments or note is not None) else []) + mine:
        if one and one is not signed and one['size'] < start and ('by' in one or trusted is not None or is_signed_by(one, known)): continue  # dropped
        in_force = [key for since, key in keys if one and since <= one['size'] and not (one is signed and one['more'])][-1:]  # with more it is a tombstone
        hold(one and one['origin'] == origin and ('by' in one or is_signed_by(one, in_force)), 'no checkpoint of this log is signed by its key')
        hold(one['size'] <= seq, f"events are missing: there were {one['size']}", seq + 1)
        hold(roots[one['size']] == one['root'], f"the first {one['size']} events are not those that were signed or recorded")
    hold(trusted is None or is_folder and any(key['text'] in trusted and since <= signed['size'] for since, key in keys), 'no key that was given signs the log')
    if unread or seq == start: raise unread or OSError('no event is here')
    return origin
def own(folder): return [(int(n[:16]), f'{folder}/{n}') for n in sorted(os.listdir(folder)) if re.fullmatch(r'[0-9]{16}\.jsonl', n)]
def find(path):  # streams, as the arguments of verify
    name = os.path.basename(os.path.abspath(path))
    if not os.path.isdir(path): return [(path, None, [(int(name[:16]) if re.fullmatch(r'[0-9]{16}\.jsonl', name) else 1, path)], False)]
    def holds(folder): return os.path.isdir(folder) and (own(folder) or 'checkpoint' in os.listdir(folder))
    here, names = [(path, name, own(path), True)] if holds(path) else [], [(f'{path}/{n}', n) for n in sorted(os.listdir(path))]
    return here + [(f, n[:-6], [(1, f)], False) if not here and n.endswith('.jsonl') else (f, n, own(f), True) for f, n in names
                   if holds(f) or not here and (os.path.isdir(f) or n.endswith('.jsonl'))] or [(path, None, [], True)]
def notes(path, _, segments, __):  # what a stream says in its own events, not verified yet, as (path, seq, data)
    own = (parsed(json.loads, line) for _, file in segments if os.path.isfile(file) and os.access(file, os.R_OK) for line in lines(file) if OWN.match(line))
    return [(path, note['seq'], note['data']) for note in own if note and type(note.get('seq')) is int and type(note.get('data')) is dict]
def claims(path, at, data):  # what it recorded of others
    found = [one for one in parsed(list, data.get('checkpoints')) or [] if type(one) is dict and type(one.get('size')) is int]
    return [dict(one, root=parsed(exact, one.get('root')), by=path, at=at) for one in found if {str} == {type(one.get('root')), type(one.get('origin'))}]
if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ('--key', '--since-checkpoint'): parser.add_argument(option, action='append', default=[])
    parser.add_argument('path', nargs='+')
    asked, results = parser.parse_args(), []
    try:
        keys, kept, sources = keys_given(asked.key), checkpoints_kept(asked.since_checkpoint), [source for path in asked.path for source in find(path)]
    except (OSError, ValueError, AttributeError, LookupError) as error: parser.error(f'a key, a checkpoint or a folder cannot be read: {error}')
    said = [note for source in sources for note in notes(*source)]
    others = [*kept, *(claim for note in said for claim in claims(*note))]
    named = [key for _, _, data in said if (key := parsed(vkey, data.get('key')))]
    named += [tomb['key'] for path, *_ in sources if (tomb := parsed(tombstone, parsed(text_of, f'{path}/dropped')))]
    for source in sources:
        try: results.append(dict(path=source[0], status='intact', origin=verify(*source, keys if asked.key else None, others, named)))
        except Flaw as flaw: results.append(dict(path=source[0], status='tampered', what=flaw.args[0], seq=flaw.args[1]))
        except OSError as error: results.append(dict(path=source[0], status='unreadable', what=str(error)))
    found = {result['path']: result.get('origin') for result, source in zip(results, sources) if source[3]}
    held = {one['origin'] for one in others if one.get('by') not in asked.path}  # of a folder of all logs
    lost = held - {result.get('origin') for result in results} | {one for one in found.values() if one and [*found.values()].count(one) > 1}
    results += [dict(path=one, status='tampered', what='this log was recorded, or a checkpoint kept of it, and it is not here') for one in lost]
    for result in results: print(json.dumps(result, ensure_ascii=True))
    sys.exit(next(code for status, code in (('tampered', 1), ('unreadable', 2), ('intact', 0)) if status in [r['status'] for r in results]))
