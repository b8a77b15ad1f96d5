# SPDX-License-Identifier: Apache-2.0
# bash completion for locum. Verbs and options are what locum's own --help says, so that they cannot be out of date.

_locum_verbs()
{
	locum --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p'
}

_locum_options()
{
	locum "$@" --help 2>/dev/null | sed -n 's/^ *\(-[a-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p'
}

# Mounts by id, of a daemon that runs; completion starts none.
_locum_ids()
{
	curl -s --max-time 1 --unix-socket "${LOCUM_RUN:-/run/locum}/locum.sock" http://locum/v1/mounts 2>/dev/null |
		grep -o '"id":"[^"]*"' | cut -d'"' -f4
}

_locum()
{
	local cur=${COMP_WORDS[COMP_CWORD]} verb= i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--root | --run) i=$((i + 1)) ;;
		-*) ;;
		*)
			verb=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	if [[ $cur == -* ]]; then
		# shellcheck disable=SC2086
		mapfile -t COMPREPLY < <(compgen -W "$(_locum_options $verb)" -- "$cur")
	elif [[ -z $verb ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_locum_verbs)" -- "$cur")
	elif [[ $verb == meter && ${COMP_WORDS[COMP_CWORD - 1]} == meter ]]; then
		mapfile -t COMPREPLY < <(compgen -W "show set reload" -- "$cur")
	elif [[ $verb == umount || $verb == wait || $verb == status || $verb == why || $verb == meter || $verb == deadline ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_locum_ids)" -- "$cur")
		mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -o filenames -F _locum locum
