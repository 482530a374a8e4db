// The addresses of a release: its repository, and where a fault of security is reported. A checkout has none until its publisher names
// them; package.json keeps them from then on, and SECURITY.md points to it.

/** What package.json says of them: repository, homepage and bugs, in its order. @throws Error what is no address */
function addressFields(repository, securityContact) {
  if (!/^https:\/\/[^\s/#?]+\/[^\s#?]*[^\s/#?]$/.test(repository) || repository.endsWith(".git"))
    throw new Error(`--repository is the repository's page, https://HOST/OWNER/NAME, not ${repository}`);
  if (!/^[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+$/.test(securityContact))
    throw new Error(`--security-contact is an address for mail, not ${securityContact}`);
  return {
    homepage: `${repository}#readme`,
    bugs: { url: `${repository}/issues`, email: securityContact },
    repository: { type: "git", url: `git+${repository}.git` },
  };
}

/** The manifest with those that the options name; undefined where one is still missing. The order of the other fields stays. */
export function withAddresses(manifest, { repository, "security-contact": securityContact } = {}) {
  const { homepage, bugs, repository: known, ...rest } = manifest;
  const page = repository ?? known?.url?.replace(/^git\+|\.git$/g, "");
  const contact = securityContact ?? bugs?.email;
  if (page === undefined || contact === undefined) return undefined;
  const entries = Object.entries(rest);
  const after = entries.findIndex(([key]) => key === "license") + 1;
  return Object.fromEntries([
    ...entries.slice(0, after),
    ...Object.entries(addressFields(page, contact)),
    ...entries.slice(after),
  ]);
}
