import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { SettingError } from './settings.ts';

/** Of a file, and of each file that it names. */
const charactersMax = 256 * 1024;

/** How a file is found: by a setting that names it, or where it lies if it is there. */
export type DescribedFile = { readonly setting: string; readonly path: string; readonly optional: boolean };

/**
 * What a YAML file of ours says, as its schema reads it; null where it may be absent and is. Throws SettingError, which
 * says file, line, field and what to do, and holds no value of the file.
 */
export function readDescribed<T>({ setting, path, optional }: DescribedFile, schema: z.ZodType<T>): T | null {
  const text = readText(path, { optional, namedBy: setting });
  if (text === null) return null;
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const { line } = lines.linePos(problem.pos[0]);
    throw new SettingError(
      `${path}:${line}: this is not YAML that can be read (${problem.code.toLowerCase()})`,
    );
  }
  const parsed = schema.safeParse(document.toJS());
  if (parsed.success) return parsed.data;
  const lineOf = (at: readonly PropertyKey[]) => {
    for (let length = at.length; length >= 0; length -= 1) {
      const node = document.getIn(at.slice(0, length), true) as
        | { range?: [number, number, number] }
        | undefined;
      if (node?.range != null) return lines.linePos(node.range[0]).line;
    }
    return 1;
  };
  throw new SettingError(
    parsed.error.issues
      .slice(0, issuesMax)
      .map((issue) => `${path}:${lineOf(issue.path)}: ${placeOf(issue.path)}${issueText(issue)}`)
      .join('\n'),
  );
}

const issuesMax = 16;

/** `providers[0].mapping.roles[1].role: `, and nothing for the whole. */
function placeOf(path: readonly PropertyKey[]): string {
  const place = path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
  return place === '' ? '' : `${place}: `;
}

function issueText(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') return `there is no field ${issue.keys.join(', ')}`;
  return issue.message;
}

/** `what` says for whoever reads the error what the file of mode 0600 should hold: one line without white space. */
export function readSecret(path: string, file: string, what: string): string {
  checkPrivate(path, file, what);
  const secret = readNamed(path, file).replace(/\r?\n$/, '');
  if (/^[\x21-\x7E]{1,4096}$/.test(secret)) return secret;
  throw new SettingError(`${path}: ${file} does not hold ${what} alone: one line without white space`);
}

/** Whoever reads a secret of this server can pose as it. */
export function checkPrivate(path: string, file: string, what: string): void {
  const mode = statOf(path, file).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw new SettingError(
    `${path}: ${file} holds ${what} and others may read it (mode ${mode.toString(8)}): chmod 600 ${file}`,
  );
}

function statOf(path: string, file: string) {
  try {
    return statSync(file);
  } catch (error) {
    throw new SettingError(`${path}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

const certificate = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** The authorities in a file that `path` names, in PEM. */
export function readCertificates(path: string, file: string): string[] {
  const found = readNamed(path, file).match(certificate) ?? [];
  try {
    if (found.length > 0 && found.every((text) => new X509Certificate(text).ca)) return found;
  } catch {
    // Falls through: one of them cannot be parsed.
  }
  throw new SettingError(`${path}: ${file} does not hold certificates of authorities in PEM`);
}

/** A certificate and the key that it is for. */
export function readIdentity(path: string, certFile: string, keyFile: string): { cert: string; key: string } {
  checkPrivate(path, keyFile, 'a private key');
  const [cert, key] = [readNamed(path, certFile), readNamed(path, keyFile)];
  try {
    if (new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) return { cert, key };
  } catch {
    // Falls through: one of them cannot be parsed.
  }
  throw new SettingError(`${path}: ${certFile} and ${keyFile} are not a certificate and its key in PEM`);
}

/** The text of a file that `path` names. */
export function readNamed(path: string, file: string): string {
  return readText(file, { optional: false, namedBy: path })!;
}

function readText(file: string, options: { optional: boolean; namedBy: string }): string | null {
  try {
    const text = readFileSync(file, 'utf8');
    if (text.length <= charactersMax) return text;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (options.optional && (code === 'ENOENT' || code === 'ENOTDIR')) return null;
    throw new SettingError(`${options.namedBy}: ${file} cannot be read (${code})`);
  }
  throw new SettingError(`${file} has more than ${charactersMax} characters`);
}
