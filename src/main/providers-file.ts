import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import {
  type DescribedProvider,
  type ProviderSettings,
  providerFileLimits,
  providersFile,
} from '../contract/providers.ts';
import { SettingError } from './settings.ts';

/**
 * What the file of providers says, with the secrets and authorities that it names read; with `optional` nothing where
 * there is no such file. Throws SettingError, which says where and what to do and holds no value of the file.
 */
export function readProviders(path: string, { optional }: { optional: boolean }): ProviderSettings[] {
  const text = readText(path, { optional });
  if (text === null) return [];
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const { line } = lines.linePos(problem.pos[0]);
    throw new SettingError(
      `${path}:${line}: this is not YAML that can be read (${problem.code.toLowerCase()})`,
    );
  }
  const parsed = providersFile.safeParse(document.toJS());
  if (parsed.success) {
    const { providers } = parsed.data;
    if (providers.some(({ clientSecret }) => clientSecret !== undefined)) checkPrivate(path, path);
    return providers.map((provider) => load(path, provider));
  }
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

function load(
  path: string,
  { clientSecretFile, caFile, clientSecret, ...rest }: DescribedProvider,
): ProviderSettings {
  const beside = (name: string) => resolve(dirname(path), name);
  const authorities = caFile === undefined ? [] : readCertificates(path, beside(caFile));
  const secret =
    clientSecretFile === undefined ? (clientSecret ?? null) : readSecret(path, beside(clientSecretFile));
  return { ...rest, clientSecret: secret, authorities } as ProviderSettings;
}

function readSecret(path: string, file: string): string {
  checkPrivate(path, file);
  const secret = readText(file, { optional: false, namedBy: path })!.replace(/\r?\n$/, '');
  if (/^[\x21-\x7E]{1,4096}$/.test(secret)) return secret;
  throw new SettingError(
    `${path}: ${file} does not hold a client secret alone: one line without white space`,
  );
}

/** Whoever reads a client secret can pose as this server. */
function checkPrivate(path: string, file: string): void {
  const mode = statOf(path, file).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw new SettingError(
    `${path}: ${file} holds a client secret and others may read it (mode ${mode.toString(8)}): chmod 600 ${file}`,
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

function readCertificates(path: string, file: string): string[] {
  const found = readText(file, { optional: false, namedBy: path })!.match(certificate) ?? [];
  try {
    if (found.length > 0 && found.every((text) => new X509Certificate(text).ca)) return found;
  } catch {
    // Falls through: one of them cannot be parsed.
  }
  throw new SettingError(`${path}: ${file} does not hold certificates of authorities in PEM`);
}

function readText(file: string, options: { optional: boolean; namedBy?: string }): string | null {
  try {
    const text = readFileSync(file, 'utf8');
    if (text.length <= providerFileLimits.bytesMax) return text;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (options.optional && (code === 'ENOENT' || code === 'ENOTDIR')) return null;
    const place = options.namedBy === undefined ? 'providersFile' : options.namedBy;
    throw new SettingError(`${place}: ${file} cannot be read (${code})`);
  }
  throw new SettingError(`${file} has more than ${providerFileLimits.bytesMax} characters`);
}
