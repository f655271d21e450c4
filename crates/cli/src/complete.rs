//! Completion scripts for bash, zsh and fish, made from the table: `vserver --completion SHELL`.
//!
//! Guests' names are asked of `vserver --list-guests`, which only reads one directory.

use std::fmt::Write as _;

use crate::table::{Command, Complete, Opt, PROGRAMS, VERBS, WORDS};

/// The shells that have a script.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The script for `shell`; `None` for an unknown one.
pub fn script(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn names(list: &[&Command]) -> String {
    list.iter().map(|command| command.name).collect::<Vec<_>>().join(" ")
}

fn visible(command: &Command) -> impl Iterator<Item = &'static Opt> {
    command.options.iter().filter(|opt| !opt.hidden)
}

fn option_words(command: &Command) -> String {
    let mut words: Vec<&str> = visible(command).flat_map(|opt| opt.names.iter().copied()).collect();
    words.extend(["--help", "--version"]);
    words.join(" ")
}

/// The bash command that fills COMPREPLY for one kind of operand or value.
fn bash_reply(complete: Complete) -> String {
    match complete {
        Complete::Nothing => "COMPREPLY=()".to_owned(),
        Complete::Guest => {
            "COMPREPLY=($(compgen -W \"$(vserver --list-guests 2>/dev/null)\" -- \"$cur\"))".to_owned()
        }
        Complete::Path => "COMPREPLY=($(compgen -f -- \"$cur\"))".to_owned(),
        Complete::Program => "COMPREPLY=($(compgen -c -- \"$cur\"))".to_owned(),
        Complete::Words(words) => format!("COMPREPLY=($(compgen -W \"{}\" -- \"$cur\"))", words.join(" ")),
    }
}

/// `case` arms of one command: what its options and operands complete to.
fn bash_arm(out: &mut String, command: &Command) {
    put(out, &format!("        {})", command.name));
    put(out, "            case $prev in");
    for opt in visible(command) {
        if let Some(value) = opt.value {
            put(
                out,
                &format!(
                    "                {}) {}; return ;;",
                    opt.names.join("|"),
                    bash_reply(value.complete)
                ),
            );
        }
    }
    put(out, "            esac");
    put(
        out,
        &format!(
            "            if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")); return; fi",
            option_words(command)
        ),
    );
    put(out, &format!("            {} ;;", bash_reply(command.operand)));
}

fn bash() -> String {
    let mut out = String::from("# bash completion for vserver: made by `vserver --completion bash`\n");
    put(&mut out, "_vserver_command() {\n    local cur=$1 prev=$2\n    case $3 in");
    for command in PROGRAMS.iter().filter(|c| c.name != "vserver").chain(WORDS) {
        bash_arm(&mut out, command);
    }
    put(&mut out, "    esac\n}");
    put(&mut out, "_vserver_verb() {\n    local cur=$1 prev=$2\n    case $3 in");
    for verb in VERBS {
        bash_arm(&mut out, verb);
    }
    put(&mut out, "    esac\n}");
    let vserver = &crate::applet::vserver::COMMAND;
    let own = option_words(vserver);
    let mut values = String::new();
    for (opt, value) in visible(vserver).filter_map(|opt| Some((opt, opt.value?))) {
        put(
            &mut values,
            &format!("        {}) {}; return ;;", opt.names.join("|"), bash_reply(value.complete)),
        );
    }
    put(
        &mut out,
        &format!(
            r#"_vserver() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} program=${{COMP_WORDS[0]##*/}}
    local i name= verb=
    COMPREPLY=()
    if [[ $program != vserver ]]; then _vserver_command "$cur" "$prev" "$program"; return; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ -n $name ]]; then verb=${{COMP_WORDS[i]}}; break; fi
        [[ ${{COMP_WORDS[i]}} == -* ]] || name=${{COMP_WORDS[i]}}
    done
    if [[ -z $name || $prev == --completion || $prev == --generate-man ]]; then
        case $prev in
{values}        esac
        if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "{own}" -- "$cur"))
        else COMPREPLY=($(compgen -W "{words} $(vserver --list-guests 2>/dev/null)" -- "$cur")); fi
    elif [[ " {words} " == *" $name "* && -z $verb ]]; then _vserver_command "$cur" "$prev" "$name"
    elif [[ -z $verb ]]; then COMPREPLY=($(compgen -W "{verbs}" -- "$cur"))
    else _vserver_verb "$cur" "$prev" "$verb"; fi
}}
complete -F _vserver {programs}"#,
            words = names(WORDS),
            verbs = names(VERBS),
            programs = names(PROGRAMS),
            values = values,
        ),
    );
    out
}

fn zsh() -> String {
    let mut out = format!("#compdef {}\n# made by `vserver --completion zsh`\n", names(PROGRAMS));
    put(
        &mut out,
        "_vserver_guests() { local -a guests; guests=(${(f)\"$(vserver --list-guests 2>/dev/null)\"}); compadd -a guests }",
    );
    put(&mut out, "_vserver_one() {\n  case $1 in");
    for (kind, list) in [("program", PROGRAMS), ("verb", VERBS), ("word", WORDS)] {
        for command in list.iter().filter(|c| c.name != "vserver") {
            put(&mut out, &format!("    {kind}:{}) _arguments \\", command.name));
            for opt in visible(command) {
                for name in opt.names {
                    let value = opt
                        .value
                        .map_or(String::new(), |v| format!(":{}:{}", v.name, zsh_action(v.complete)));
                    put(&mut out, &format!("      '{name}[{}]{value}' \\", zsh_quote(opt.help)));
                }
            }
            put(
                &mut out,
                &format!("      '--help[show the usage]' '*:argument:{}' ;;", zsh_action(command.operand)),
            );
        }
    }
    put(&mut out, "  esac\n}");
    let describe = |list: &[&Command]| -> String {
        list.iter()
            .map(|c| format!("'{}:{}'", c.name.replace(':', "\\:"), zsh_quote(c.summary)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    put(
        &mut out,
        &format!(
            r#"_vserver() {{
  local -a verbs words_without flags
  local i=2
  if [[ $service != vserver ]]; then _vserver_one program:$service; return; fi
  verbs=({verbs})
  words_without=({words})
  flags=({options})
  while (( i < CURRENT )) && [[ $words[i] == -* ]]; do (( i++ )); done
  if (( i >= CURRENT )); then
    if [[ $PREFIX == -* ]]; then compadd -a flags; return; fi
    _describe command words_without
    _vserver_guests
  elif [[ " {plain} " == *" $words[i] "* ]]; then
    local word=$words[i]; shift $(( i - 1 )) words; (( CURRENT -= i - 1 )); _vserver_one word:$word
  elif (( i + 1 == CURRENT )); then _describe verb verbs
  else
    local verb=$words[i+1]; shift $i words; (( CURRENT -= i )); _vserver_one verb:$verb
  fi
}}
_vserver "$@""#,
            verbs = describe(VERBS),
            words = describe(WORDS),
            plain = names(WORDS),
            options =
                PROGRAMS.iter().find(|c| c.name == "vserver").map_or(String::new(), |c| option_words(c)),
        ),
    );
    out
}

fn zsh_action(complete: Complete) -> String {
    match complete {
        Complete::Nothing => " ".to_owned(),
        Complete::Guest => "_vserver_guests".to_owned(),
        Complete::Path => "_files".to_owned(),
        Complete::Program => "_command_names".to_owned(),
        Complete::Words(words) => format!("({})", words.join(" ")),
    }
}

/// Text inside `'…[…]'`: no quote, bracket or colon may end it.
fn zsh_quote(text: &str) -> String {
    text.replace('\'', "'\\''").replace('[', "(").replace(']', ")").replace(':', "\\:")
}

fn fish() -> String {
    let mut out = String::from("# fish completion for vserver: made by `vserver --completion fish`\n");
    put(
        &mut out,
        &format!(
            r"function __vserver_state
    set -l words (commandline -opc)
    set -l plain
    for word in $words[2..-1]
        string match -q -- '-*' $word; and test (count $plain) -lt 2; and continue
        set -a plain $word
    end
    switch (count $plain)
        case 0
            echo name
        case 1
            contains -- $plain[1] {words}; and echo word:$plain[1]; or echo verb
        case '*'
            contains -- $plain[1] {words}; and echo word:$plain[1]; or echo verb:$plain[2]
    end
end
function __vserver_is
    test (__vserver_state) = $argv[1]
end
complete -c vserver -f
complete -c vserver -n '__vserver_is name' -a '(vserver --list-guests 2>/dev/null)' -d guest",
            words = names(WORDS),
        ),
    );
    for (state, list) in [("name", WORDS), ("verb", VERBS)] {
        for command in list {
            put(
                &mut out,
                &format!(
                    "complete -c vserver -n '__vserver_is {state}' -a {} -d {}",
                    command.name,
                    fish_quote(command.summary)
                ),
            );
        }
    }
    for (kind, list) in [("word", WORDS), ("verb", VERBS)] {
        for command in list {
            let start = format!("complete -c vserver -n '__vserver_is {kind}:{}'", command.name);
            fish_options(&mut out, &start, command);
        }
    }
    for command in PROGRAMS {
        let start = if command.name == "vserver" {
            "complete -c vserver -n '__vserver_is name'".to_owned()
        } else {
            format!("complete -c {}", command.name)
        };
        fish_options(&mut out, &start, command);
    }
    out
}

fn fish_options(out: &mut String, start: &str, command: &Command) {
    for opt in visible(command) {
        let spelt: Vec<String> = opt
            .names
            .iter()
            .map(|name| match name.strip_prefix("--") {
                Some(long) => format!("-l {}", fish_quote(long)),
                None => format!("-s {}", &name[1..]),
            })
            .collect();
        let value = opt.value.map_or(String::new(), |v| format!(" -x{}", fish_action(v.complete)));
        put(out, &format!("{start} {}{value} -d {}", spelt.join(" "), fish_quote(opt.help)));
    }
    put(out, &format!("{start} -l help -d 'show the usage'"));
    if command.name != "vserver" {
        let files = if matches!(command.operand, Complete::Path) { " -F" } else { " -f" };
        put(out, &format!("{start}{files}{}", fish_action(command.operand)));
    }
}

fn fish_action(complete: Complete) -> String {
    match complete {
        Complete::Nothing | Complete::Path => String::new(),
        Complete::Guest => " -a '(vserver --list-guests 2>/dev/null)'".to_owned(),
        Complete::Program => " -a '(__fish_complete_command)'".to_owned(),
        Complete::Words(words) => format!(" -a '{}'", words.join(" ")),
    }
}

fn fish_quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn put(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_every_verb_and_program() {
        for shell in SHELLS {
            let script = script(shell).unwrap();
            for command in PROGRAMS.iter().chain(VERBS).chain(WORDS) {
                assert!(script.contains(command.name), "{shell}: {}", command.name);
            }
            assert!(script.contains("--list-guests"), "{shell}");
        }
        assert!(super::script("tcsh").is_none());
    }

    #[test]
    fn bash_takes_its_script() {
        let script = script("bash").unwrap();
        let done = std::process::Command::new("bash").arg("-n").arg("-c").arg(script).status().unwrap();
        assert!(done.success());
    }
}
