"""Verifies bundles of evidence by audit-format.md, beside audit-verify.py. Ends with 0 intact, 1 tampered, 2 unreadable."""
import argparse, hashlib, importlib.util, json, os, sys
LINE_MAX, ARTIFACTS_MAX, HEADER = 262144, 10000, b'{"sealwright-evidence":1}'
TEXT, KEY_ACTIONS = [str], {'audit.opened', 'audit.key.introduced', 'audit.key.rotated'}
spec = importlib.util.spec_from_file_location('log', os.path.join(os.path.dirname(os.path.abspath(__file__)), 'audit-verify.py'))
log = importlib.util.module_from_spec(spec)
spec.loader.exec_module(log)  # nodes, notes, keys and the spelling of lines are those of a log
hold, parsed, Flaw = log.hold, log.parsed, log.Flaw

def object_of(line):
    value = parsed(lambda text: json.loads(text, parse_constant=int), line.decode(errors='surrogateescape'))
    hold(type(value) is dict and (parsed(log.canonical, value) or '').encode(errors='replace') == line, 'a line of the bundle is damaged')
    return value

def has(value, optional='', **types):  # exactly these members, of these types
    return type(value) is dict and types.keys() - {optional} <= value.keys() <= types.keys() and all(type(value[name]) in types[name] for name in value)

def lines(path):  # without their newlines
    with open(path, 'rb') as file:
        for line in iter(lambda: file.readline(LINE_MAX + 2), b''):
            hold(line[-1:] == b'\n', 'a line of the bundle is too long, or its end is missing')
            yield line[:-1]

def included(leaf, index, size, proof, root):  # RFC 9162, 2.1.3.2
    last = size - 1
    for sibling in proof:
        if last == 0 or len(sibling) != 32: return False
        if index & 1 or index == last:
            leaf = log.sha(b'\1', sibling, leaf)
            while not index & 1 and index: index, last = index >> 1, last >> 1
        else: leaf = log.sha(b'\1', leaf, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and leaf == root

class Section:  # what a bundle holds of one stream
    def __init__(self, name, checkpoint, dropped):
        self.name, self.signed, self.tomb = name, parsed(log.checkpoint, checkpoint), parsed(log.tombstone, dropped)
        hold(self.signed, 'the checkpoint is damaged')
        hold(dropped is None or self.tomb, 'the tombstone is damaged')
        self.named, self.last, self.line, self.is_proved = [], 0, None, True

    def take(self, line, purpose, proof):
        event = parsed(log.event, line)
        hold(event and is_whole(event), 'the event is no line of a log')
        seq, follows = event['seq'], log.sha(b'\0' if event['v'] == 2 else b'', self.line or b'').hex() == event['prev']
        hold(event['stream'] == self.name and self.last < seq <= self.signed['size'], 'the event is of elsewhere, repeated, or out of order', seq)
        hold(self.is_proved or seq == self.last + 1 and follows, 'nothing proves the event before', seq)
        nodes = proof and [parsed(log.exact, node) for node in proof]
        hold(proof is None or None not in nodes and included(log.sha(b'\0', line), seq - 1, self.signed['size'], nodes or [], self.signed['root']),
             'the event is not in the log', seq)
        self.last, self.line, self.is_proved = seq, line, proof is not None
        data = event.get('data', {})
        names_key = event['action'] in KEY_ACTIONS and type(data.get('origin')) is type(data.get('key')) is str
        hold(names_key or purpose != 'key', 'the event names no key', seq)
        if names_key: self.named.append((seq, event['action'], data))
        return event

    def keys(self):  # (seq, key) of each, in force from there on
        keys = [(0, self.tomb['key'])] if self.tomb else []
        for seq, action, data in self.named:
            origin, text, old = data['origin'], data['key'], keys[-1][1] if keys else None
            key, signature = parsed(log.vkey, text), parsed(log.exact, data.get('signature')) or b''
            handed = f'sealwright audit key rotation\n{origin}\n{text}\n'.encode()
            is_next = old and old['name'] == origin and log.is_signed(old, handed, signature)
            hold(key and key['name'] == origin and (is_next if action == 'audit.key.rotated' else not old), 'no key is named so', seq)
            keys.append((seq, key))
        hold(keys, 'no event says which key signs the stream')
        return keys

    def end(self, trusted):
        hold(self.is_proved, 'nothing proves the last event', self.last)
        keys, signed = self.keys(), self.signed
        known, origin, in_force = [key for _, key in keys], keys[0][1]['name'], [key for since, key in keys if since <= signed['size']][-1:]
        hold(signed['origin'] == origin and log.is_signed_by(signed, in_force), 'the checkpoint is not signed by the key of the log')
        hold(not self.tomb or self.tomb['origin'] == origin and log.is_signed_by(self.tomb, known), 'the tombstone is not signed by the log')
        hold(trusted is None or any(key['text'] in trusted for key in known), 'it is signed by no key that was given')

def is_whole(event):
    actor, resource, decision = event['actor'], event['resource'], event['decision']
    texts = [actor.get('id'), actor.get('kind'), resource.get('kind'), decision.get('rule')]
    return all(isinstance(text, str) for text in texts) and isinstance(decision.get('allow'), bool)

def verify(path, trusted, kept):
    sections, artifacts, count, request, events, ended, all_lines = {}, hashlib.sha256(), 0, None, 0, False, lines(path)
    hold(next(all_lines, None) == HEADER, 'this is no bundle of evidence')
    section = None
    for line in all_lines:
        hold(not ended, 'something stands behind the end')
        record = object_of(line)
        if has(record, 'proof', event=TEXT, proof=[list], **{'for': TEXT}):
            hold(section, 'an event stands before its stream')
            hold(record['for'] in ('answer', 'key', 'request'), 'a line of the bundle is damaged')
            event = section.take(record['event'].encode(), record['for'], record.get('proof'))
            events += 1
            if record['for'] == 'request':
                hold(request is None and event['action'] == 'audit.export' and event.get('data', {}).get('evidence') is True, 'this is no request')
                request = event['data']
            continue
        if section: section.end(trusted)
        section = None
        if has(record, 'tombstone', stream=TEXT, checkpoint=TEXT, tombstone=TEXT):
            hold(record['stream'] not in sections, 'a stream is there twice')
            section = sections[record['stream']] = Section(record['stream'], record['checkpoint'], record.get('tombstone'))
        elif has(record, artifact=[dict]):
            hold(has(record['artifact'], run=TEXT, name=TEXT, mediaType=TEXT, bytes=[int, float], sha256=TEXT), 'a line of the bundle is damaged')
            hold(not sections and count < ARTIFACTS_MAX, 'an artifact stands behind the events, or there are too many')
            artifacts.update(line + b'\n')
            count += 1
        else:
            hold(has(record, end=[dict]) and has(record['end'], events=[int]) and record['end']['events'] == events, 'the bundle holds another number of events, or a line is damaged')
            ended = True
    hold(ended, 'the bundle was cut: its end is missing')
    hold(request is not None, 'no event says that this was asked for')
    hold([request[name] for name in ('artifacts',) if name in request] == [artifacts.hexdigest()][:count], 'the artifacts are not those that the log says')
    found, others = {section.signed['origin']: section.signed for section in reversed(sections.values())}, []
    for one in kept:
        own = found.get(one['origin'])
        hold(own, 'the bundle holds nothing of a log of which a checkpoint was kept')
        if own['size'] == one['size']: hold(own['root'] == one['root'], 'the events are not those of the checkpoint that was kept')
        else: others.append(one['size'])
    if others: raise OSError(f'checkpoints of {others} events were kept, and the bundle proves nothing of them: verify the log')

def judged(path, trusted, kept):
    try: verify(path, trusted, kept)
    except Flaw as flaw: return dict(path=path, status='tampered', what=flaw.args[0], seq=flaw.args[1])
    except OSError as error: return dict(path=path, status='unreadable', what=str(error))
    return dict(path=path, status='intact')

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ('--key', '--since-checkpoint'): parser.add_argument(option, action='append', default=[], metavar='FILE')
    parser.add_argument('bundle', nargs='+')
    asked = parser.parse_args()
    try: keys, kept = log.keys_given(asked.key), log.checkpoints_kept(asked.since_checkpoint)
    except (OSError, ValueError, AttributeError, LookupError) as error: parser.error(f'a key or a checkpoint cannot be read: {error}')
    results = [judged(path, keys if asked.key else None, kept) for path in asked.bundle]
    for result in results: print(json.dumps(result, ensure_ascii=True))
    sys.exit(next(code for status, code in (('tampered', 1), ('unreadable', 2), ('intact', 0)) if status in [r['status'] for r in results]))
